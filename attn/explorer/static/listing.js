import { Keys } from "./keys.js";
import { TraceImage } from "./parts/trace-image.js";
import { visible } from "./safe.js";
import { MOST_SIDES } from "./sides/sides.js";
import { html, render, useEffect, useMemo, useState } from "./vendor/preact.js";

/** @typedef {import("./data/listed.js").Row} Row */

const WIDE = 208; // pixels of a card, with the gap
const HIGH = 312;
const AROUND = 2; // rows of cards above and below what is seen, so that Tab finds the next

/** @type {Record<string, (row: Row) => string>} */
const FILTERS = {
  status: (row) => (row.error ? "failed" : row.status === "partial" ? "not finished" : (row.status ?? "complete")),
  backend: (row) => row.backend ?? "",
  cut: (row) => (row.error ? "" : cutsOf(row).join(", ") || "none"),
  LoRA: (row) => (row.error ? "" : row.loras?.join(", ") || "none"),
  size: (row) => (row.size ? row.size.join(" × ") : ""),
};

/** What was done to the attention. @param {Row} row @returns {string[]} */
function cutsOf({ cuts }) {
  return (cuts ?? []).map((cut) => `cut: ${cut}`);
}

/** @type {Record<string, (a: Row, b: Row) => number>} */
const ORDERS_OF_ROWS = {
  "as listed": () => 0,
  newest: (a, b) => (b.written ?? 0) - (a.written ?? 0),
  prompt: (a, b) => (a.prompt ?? "").localeCompare(b.prompt ?? ""),
  seed: (a, b) => (a.seed ?? 0) - (b.seed ?? 0),
};

/**
 * Screen D: everything that was opened.
 * @param {HTMLElement} root
 * @param {{facts: import("./data/listed.js").Listed, source: import("./data/source.js").Source}} item
 * @param {import("./state.js").State} state
 */
export async function showIndex(root, item, state) {
  render(html`<${Listing} item=${item} state=${state} />`, root);
  return () => render(null, root);
}

/** @param {{item: {facts: import("./data/listed.js").Listed, source: import("./data/source.js").Source}, state: import("./state.js").State}} props */
function Listing({ item, state }) {
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  const listed = item.facts;
  const rows = useRows(listed);
  const chosen = Object.entries(FILTERS).map(([name, of]) => [name, chosenOf(state, listed, name, rows.map(of))]);
  const sought = state.get("find");
  const picked = state.get("pick").split(",").filter(Boolean);
  const order = state.choice("sort", Object.keys(ORDERS_OF_ROWS), "as listed");
  const shown = useMemo(
    () => selectRows(rows, sought, Object.fromEntries(chosen), order),
    [rows, sought, order, ...chosen.map(([, value]) => value)],
  );
  const shortcuts = [
    { keys: "/", does: "find in prompts and names", run: () => document.getElementById("find-run")?.focus() },
    { keys: "c", does: "see the selected side by side", run: () => document.getElementById("compare")?.click() },
    { keys: "Escape", does: "show everything again", run: () => state.set({ find: "", pick: "", ...cleared() }) },
    { keys: "?", does: "this list" },
  ];
  return html`<${Keys} shortcuts=${shortcuts} own=${OWN_INDEX_KEYS} />
    <h1>${headingOf(rows)}${listed.isWhole ? "" : " so far"}</h1>
    ${listed.error && html`<p class="error" role="alert">This is the list as it was: ${visible(listed.error)}</p>`}
    <${Choices} rows=${rows} state=${state} order=${order} sought=${sought} />
    <p class="faint" role="status">${saidOfList(listed, shown.length, rows.length)}</p>
    <${Picked} picked=${picked} state=${state} />
    <${Cards} rows=${shown} source=${item.source} picked=${picked} onPick=${(/** @type {string} */ id) => state.set({ pick: (picked.includes(id) ? picked.filter((one) => one !== id) : [...picked, id]).join(",") })} />`;
}

/** What a filter lets pass; while the list is still found, it may come. @param {import("./state.js").State} state @param {import("./data/listed.js").Listed} listed @param {string} name @param {string[]} values */
function chosenOf(state, listed, name, values) {
  return listed.isWhole ? state.choice(name, values) : state.get(name);
}

/** @param {Row[]} rows */
function headingOf(rows) {
  const comparisons = rows.filter((row) => row.kind === "comparison").length;
  const also = comparisons ? ` and ${comparisons} ${comparisons === 1 ? "comparison" : "comparisons"}` : "";
  return `${rows.length - comparisons} traces${also}`;
}

/** What was selected, and the way to see it side by side. @param {{picked: string[], state: import("./state.js").State}} props */
function Picked({ picked, state }) {
  if (!picked.length) return null;
  const fits = picked.length > 1 && picked.length <= MOST_SIDES;
  return html`<p class="picked" role="status">${picked.length} selected. ${
    fits
      ? html`<a id="compare" href=${`#t=${picked.join(",")}`}>See them side by side</a>`
      : `Two to ${MOST_SIDES} can be seen side by side.`
  } <button onClick=${() => state.set({ pick: "" })}>clear</button></p>`;
}

/** @type {import("./keys.js").Shortcut[]} */
const OWN_INDEX_KEYS = [
  { keys: "Tab", does: "the next trace" },
  { keys: "Enter", does: "open it" },
  { keys: "Space", does: "on the box of a trace: select it" },
];

const cleared = () => Object.fromEntries(Object.keys(FILTERS).map((name) => [name, ""]));

/** How much of the list is seen. @param {import("./data/listed.js").Listed} listed @param {number} shown @param {number} all */
function saidOfList({ isWhole, unchecked, items }, shown, all) {
  const checked = unchecked ? ` ${items.length - unchecked} of ${items.length} were held against their digests.` : "";
  const part = shown === all ? "" : `${shown} of ${all} are shown.`;
  return `${part}${isWhole ? checked : " Looking for more …"}`;
}

/** The rows, as they come. @param {import("./data/listed.js").Listed} listed @returns {Row[]} */
function useRows(listed) {
  const [, redraw] = useState(0);
  useEffect(() => listed.on(() => redraw((n) => n + 1)), [listed]);
  useEffect(() => listed.follow(), [listed]);
  const { items, failures } = listed;
  return useMemo(() => [...items, ...failures], [items, failures]);
}

/**
 * @param {Row[]} rows
 * @param {string} sought
 * @param {Record<string, string>} chosen  by filter; nothing is everything
 * @param {string} order
 */
export function selectRows(rows, sought, chosen, order) {
  const words = sought.toLowerCase().split(/\s+/).filter(Boolean);
  const filters = Object.entries(chosen).filter(([, value]) => value);
  const kept = rows.filter((row) => {
    const text = `${row.prompt ?? ""} ${row.label} ${row.seed ?? ""} ${row.loras ?? ""} ${cutsOf(row)}`.toLowerCase();
    return words.every((word) => text.includes(word)) && filters.every(([name, value]) => FILTERS[name](row) === value);
  });
  return kept.sort(ORDERS_OF_ROWS[order]);
}

/** Search, filters and order. @param {{rows: Row[], state: import("./state.js").State, order: string, sought: string}} props */
function Choices({ rows, state, order, sought }) {
  const values = useMemo(() => Object.entries(FILTERS).map(([name, of]) => [name, distinct(rows.map(of))]), [rows]);
  const write = (/** @type {string} */ name) => (/** @type {any} */ event) => state.set({ [name]: event.target.value });
  const select = (
    /** @type {string} */ label,
    /** @type {string} */ name,
    /** @type {string} */ now,
    /** @type {[string, string][]} */ options,
  ) =>
    html`<label>${label} <select onChange=${write(name)}>${options.map(
      ([value, text]) => html`<option value=${value} selected=${value === now}>${visible(text)}</option>`,
    )}</select></label>`;
  const filters = values.filter(([, all]) => all.length > 1);
  return html`<div class="choices" role="search">
    <label>Find <input id="find-run" type="search" value=${sought} onInput=${write("find")} /></label>
    ${filters.map(([name, all]) => {
      const options = all.map((/** @type {string} */ value) => [value, value]);
      return select(String(name), String(name), state.get(String(name)), [["", "all"], ...options]);
    })}
    ${select(
      "sort by",
      "sort",
      order,
      Object.keys(ORDERS_OF_ROWS).map((name) => [name, name]),
    )}</div>`;
}

/** @param {string[]} values @returns {any} */
const distinct = (values) => [...new Set(values)].filter(Boolean).sort();

/** Cards, of which only those are there that are seen. @param {{rows: Row[], source: import("./data/source.js").Source, picked: string[], onPick: (id: string) => void}} props */
function Cards({ rows, source, picked, onPick }) {
  const [view, setView] = useState({ top: 0, height: 900, width: 1280 });
  useEffect(() => {
    const look = () => {
      const box = document.getElementById("cards")?.getBoundingClientRect();
      if (box) setView({ top: -box.top, height: window.innerHeight, width: box.width });
    };
    look();
    window.addEventListener("scroll", look, { passive: true });
    window.addEventListener("resize", look);
    return () => {
      window.removeEventListener("scroll", look);
      window.removeEventListener("resize", look);
    };
  }, []);
  const across = Math.max(1, Math.floor(view.width / WIDE));
  const lines = Math.ceil(rows.length / across);
  const first = Math.max(0, Math.min(lines - 1, Math.floor(view.top / HIGH) - AROUND));
  const last = Math.min(lines, Math.ceil((view.top + view.height) / HIGH) + AROUND);
  const seen = rows.slice(first * across, last * across);
  return html`<ul id="cards" style=${`--across:${across};--high:${HIGH}px;height:${lines * HIGH}px;padding-top:${first * HIGH}px`}>
    ${seen.map((row) => html`<li key=${row.id ?? row.label}><${Card} row=${row} source=${source} />${row.kind === "trace" && row.picture && html`<label class="pick"><input type="checkbox" checked=${picked.includes(row.id ?? "")} onChange=${() => onPick(row.id ?? "")} /><span class="unseen">select ${visible(row.label)}</span></label>`}</li>`)}</ul>`;
}

const NAME = 56; // letters of a name, of which two lines hold as many
const NAME_END = 14;

/** A name without its middle, where it is long: names begin with their date, and end with what sets them apart. @param {string} name */
export function shortName(name) {
  const letters = [...name];
  if (letters.length <= NAME) return name;
  return [...letters.slice(0, NAME - NAME_END - 1), "…", ...letters.slice(-NAME_END)].join("");
}

/** @param {{row: Row, source: import("./data/source.js").Source}} props */
function Card({ row, source }) {
  const { id, error, status, steps } = row;
  const facts = [row.kind === "comparison" ? "comparison" : `seed ${row.seed}`, row.backend, ...(row.loras ?? [])]
    .filter(Boolean)
    .join(" · ");
  const picture = row.picture
    ? html`<${TraceImage} source=${source.url(`t/${id}/thumb`)} loading="lazy" />`
    : html`<span class="none">${error ? "failed" : "no image"}</span>`;
  const state = error
    ? html`<span class="card-error" tabindex="0">${visible(error)}</span>`
    : html`<span class="faint">${visible(facts)}</span>`;
  const inside = html`<span class=${`card-picture ${error ? "small" : ""}`}>${picture}</span>
    <span class="card-prompt"><bdi>${visible(row.prompt ?? row.label)}</bdi></span>${state}
    ${!error && cutsOf(row).length > 0 && html`<span class="faint card-cuts"><bdi>${visible(cutsOf(row).join(" · "))}</bdi></span>`}
    ${status === "partial" && html`<span class="card-mark">not finished: ${steps?.[0]} of ${steps?.[1] ?? "?"} steps</span>`}
    <span class="faint card-label"><bdi title=${visible(row.label)}>${visible(shortName(row.label))}</bdi></span>`;
  return id !== undefined && !error
    ? html`<a class="card" href=${`#t=${id}`}>${inside}</a>`
    : html`<div class="card">${inside}</div>`;
}
