import { points } from "../comparison/word-changes.js";
import { largestSize } from "../data/tables.js";
import { readSelection, Trace } from "../data/trace.js";
import { percent } from "../draw/colours.js";
import { largest, paintDifference, paintMap } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { useFrame } from "../frame.js";
import { Keys } from "../keys.js";
import { Lost } from "../parts/checks.js";
import { useSums } from "../parts/loading.js";
import { MapPanel, Ramp } from "../parts/map-panel.js";
import { aboutSides } from "../parts/titles.js";
import { TraceImage } from "../parts/trace-image.js";
import { visible } from "../safe.js";
import { readIds } from "../state.js";
import { resample } from "../sums/resample.js";
import { Work } from "../sums/work.js";
import { html, render, useEffect, useMemo, useState } from "../vendor/preact.js";
import { CutsOfSides } from "./cuts-of-sides.js";
import { amountsOf, sharedWords } from "./shared-words.js";

/** As many are shown side by side. */
export const MOST_SIDES = 4;
const MOST_WORDS = 40;

/**
 * Traces side by side: one word, one scale and one cursor for all of them.
 *
 * @typedef {{id: string, label: string, source: import("../data/source.js").Source, trace: Trace, work: Work, picture: string | null}} Side
 * @typedef {import("../parts/loading.js").Loaded} Loaded
 */

/**
 * @param {HTMLElement} root
 * @param {import("../screens.js").Item[]} items
 * @param {import("../state.js").State} state
 */
export async function showSides(root, items, state) {
  const shown = items.filter((item) => item.facts.screen === "picture");
  const sides = shown.map((item) => ({
    id: item.id,
    label: item.label,
    source: item.source,
    trace: new Trace(item.facts),
    work: new Work(item.source),
    picture: item.facts.pictures[0] ? item.source.url(item.facts.pictures[0]) : null,
  }));
  render(
    html`<${SideBySide} sides=${sides} others=${items.filter((item) => !shown.includes(item))} state=${state} />`,
    root,
  );
  return () => {
    for (const side of sides) side.work.close();
    render(null, root);
  };
}

/** @type {import("../keys.js").Shortcut[]} */
const SIDES_KEYS = [
  { keys: "← → ↑ ↓", does: "on an image: the next place, in all images" },
  { keys: "Enter", does: "on an image: pin the place; on a word: pin the word" },
];

/** @param {{sides: Side[], others: any[], state: import("../state.js").State}} props */
function SideBySide({ sides, others, state }) {
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  const [loaded, setLoaded] = useState(/** @type {Record<string, Loaded>} */ ({}));
  const [hovered, hover, last] = useFrame(/** @type {number | null} */ (null));
  const sums = sides.map((side) => loaded[side.id]?.sums ?? null);
  const words = useMemo(() => sharedWords(sides, state), [sides, state.get("branch")]);
  const grid = finest(sums);
  const pins = readIds(state, "pins", (id) => words.some((word) => word.id === id));
  const pinned = state.read("spot", (text) => readFraction(text, grid));
  const at = pinned ?? hovered;
  const amounts = useMemo(() => amountsOf(words, sums, grid, at), [words, ...sums, at]);
  const order = [...words].sort((a, b) => spreadOf(amounts.get(b.id)) - spreadOf(amounts.get(a.id)));
  const current = words.find((word) => word.id === pins.at(-1)) ?? order[0];
  const rowsOfMaps = (pins.length ? words.filter((word) => pins.includes(word.id)) : current ? [current] : []).map(
    (word) => ({
      word,
      maps: sides.map((_, side) => mapOf(sums[side], word.columns[side], grid)),
    }),
  );
  const top = Math.max(...rowsOfMaps.flatMap(({ maps }) => maps.map((map) => (map ? largest(map) : 0))), 0);
  const most = largestSize(rowsOfMaps.flatMap(({ maps }) => [...(differenceOf(maps) ?? [])]));
  const pin = (/** @type {string} */ id) =>
    state.set({ pins: (pins.includes(id) ? pins.filter((one) => one !== id) : [...pins, id]).join(" ") });
  const pinPlace = (/** @type {number | null} */ place) =>
    state.set({ spot: place === null ? "" : fractionText(place, grid) });
  const place =
    at === null ? "whole image" : `row ${Math.floor(at / grid[1])}, column ${at % grid[1]} of ${grid[0]} × ${grid[1]}`;
  const turn = (/** @type {number} */ by) => () => {
    const next = order[(order.indexOf(/** @type {any} */ (current)) + by + order.length) % order.length];
    if (next) state.set({ pins: next.id });
  };
  const shortcuts = [
    { keys: "[", does: "the word before", run: turn(-1) },
    { keys: "]", does: "the next word", run: turn(1) },
    { keys: "Escape", does: "free what is pinned", run: () => state.set({ spot: "", pins: "" }) },
    { keys: "?", does: "this list" },
  ];
  const table = () => ({
    head: ["word", "segment", "place", ...sides.map((side) => side.label)],
    rows: order.map((word) => [
      word.text,
      word.segment,
      place,
      ...(amounts.get(word.id) ?? []).map((value) => (Number.isNaN(value) ? "" : value)),
    ]),
  });
  const isTwo = sides.length === 2;
  const notes = sides.flatMap((side) =>
    [loaded[side.id]?.error, loaded[side.id]?.note].filter(Boolean).map((text) => `${side.label}: ${text}`),
  );
  const asks = sides.some((side) => (loaded[side.id]?.ask ?? 0) > 0);
  const panel = {
    grid,
    at,
    last: () => pinned ?? last(),
    isPinned: pinned !== null,
    onHover: hover,
    onPin: pinPlace,
    alpha: state.part("alpha", 0.75),
  };
  return html`<${Keys} shortcuts=${shortcuts} own=${SIDES_KEYS} /><h1 class="unseen">Side by side</h1>
    ${sides.map((side) => html`<${Lost} key=${side.id} label=${visible(side.label)} source=${side.source} status=${side.trace.manifest.status} error=${loaded[side.id]?.error} />`)}
    <${CutsOfSides} sides=${sides} />
    ${sides.map((side) => html`<${Reader} key=${side.id} side=${side} state=${state} onLoaded=${(/** @type {Loaded} */ one) => setLoaded((before) => ({ ...before, [side.id]: one }))} />`)}
    ${others.map((item) => html`<p class="notices"><a href=${`#t=${item.id}`}><bdi>${visible(item.label)}</bdi></a> is no picture: it is looked at by itself.</p>`)}
    <div id="sides">${rowsOfMaps.map(
      ({
        word,
        maps,
      }) => html`<h2 key=${word.id}><bdi class="figure-text">${word.name}</bdi></h2><div class="side-row" style=${`--sides:${sides.length + (isTwo ? 1 : 0)}`}>
      ${sides.map((side, number) => html`<${SidePanel} ...${panel} key=${side.id} title=${side.label} picture=${side.picture} map=${maps[number]} lack=${sums[number] ? "not in this prompt" : ""} paint=${(/** @type {HTMLCanvasElement} */ canvas, /** @type {Float64Array} */ map) => paintMap(canvas, map, grid, { top, alpha: panel.alpha })} painted=${[top, panel.alpha]} value=${amounts.get(word.id)?.[number]} />`)}
      ${isTwo && html`<${SidePanel} ...${panel} title="difference" picture=${null} map=${differenceOf(maps)} lack="" paint=${(/** @type {HTMLCanvasElement} */ canvas, /** @type {Float64Array} */ map) => paintDifference(canvas, grid, (cell) => map[cell] / most)} painted=${[most]} isDifference value=${subtracted(amounts.get(word.id))} />`}</div>`,
    )}
      <div class="side-scales"><div class="scale ticks"><${Ramp} kind="amount" /><span class="figure-text">0</span><span></span><span class="figure-text">${percent(top)}</span></div>
      ${isTwo && html`<div class="scale ticks"><${Ramp} kind="change" /><span class="figure-text">${points(-most)}</span><span class="figure-text">0</span><span class="figure-text">${points(most)} points</span></div>`}</div></div>
    <p id="place" class="say" aria-live="polite">${sayWord(current, amounts, sides, place)}</p>
    <p class="status" aria-live="polite">${notes.map(visible).join(" ")}${asks && html` <button onClick=${() => state.set({ read: "all" })}>Read all steps</button>`}</p>
    <${Save} figure="sides" name=${sides.map((side) => side.label).join("-")} title=${[`Attention to ${rowsOfMaps.map(({ word }) => `“${word.name}”`).join(", ")}`, ...aboutSides(sides, (side) => readSelection(side.trace, state, side.id))]} caption=${`One scale for all, 0 to ${percent(top)}. Numbers are of the ${place}.`} tables=${{ CSV: table }} />
    <h2>${at === null ? "In the whole image" : `At ${place}`}</h2><p class="faint">${isTwo ? "Sorted by how much the two differ." : "Sorted by how much they differ."} One scale holds for all images and pinned words.</p>
    <div class="side-words"><table><thead><tr><th scope="col">word</th>${sides.map((side) => html`<th scope="col"><bdi>${visible(side.label)}</bdi></th>`)}${isTwo && html`<th scope="col">difference, points</th>`}</tr></thead>
      <tbody>${order.slice(0, MOST_WORDS).map((word) => html`<tr key=${word.id}><td><button class="word" style="--part:0" aria-pressed=${String(pins.includes(word.id))} onClick=${() => pin(word.id)}><bdi>${word.name}</bdi></button></td>${(amounts.get(word.id) ?? []).map((value) => html`<td>${percent(value)}</td>`)}${isTwo && html`<td>${points(subtracted(amounts.get(word.id)) ?? Number.NaN)}</td>`}</tr>`)}</tbody></table></div>`;
}

/** Reads one trace, and says what came. @param {{side: Side, state: import("../state.js").State, onLoaded: (loaded: Loaded) => void}} props */
function Reader({ side, state, onLoaded }) {
  const selection = readSelection(side.trace, state, side.id);
  const key = [
    side.id,
    selection.branch,
    selection.sample,
    selection.net.name,
    selection.layers,
    selection.heads,
    selection.steps,
  ].join("/");
  const loaded = useSums(side.trace, side.work, selection, key, state.choice("read", ["all"]) === "all");
  useEffect(() => onLoaded(side.trace.hasMaps ? loaded : { ...loaded, note: "no maps were kept" }), [loaded]);
  return null;
}

/** A trace's map, or the difference of two, over its picture. @param {any} props */
function SidePanel({ title, picture, map, lack, paint, painted, value, isDifference, ...cursor }) {
  const paintOrClear = (/** @type {HTMLCanvasElement} */ canvas) =>
    map ? paint(canvas, map) : canvas.getContext("2d")?.clearRect(0, 0, canvas.width, canvas.height);
  const note =
    value === undefined || Number.isNaN(value) ? lack : isDifference ? `${points(value)} points` : percent(value);
  return html`<${MapPanel} ...${cursor} title=${visible(title)} note=${note} label=${`${visible(title)}. Arrow keys move the cursor in all images, Enter pins it.`} under=${picture && html`<${TraceImage} source=${picture} style="filter:grayscale(.9)" />`} paint=${paintOrClear} painted=${[map, ...painted]} />`;
}

/** The finest grid of all. @param {(import("../sums/sums.js").MapSums | null)[]} sums @returns {[number, number]} */
function finest(sums) {
  const grids = sums.flatMap((one) => (one?.count ? [one.grid] : []));
  return grids.reduce((a, b) => (b[0] * b[1] > a[0] * a[1] ? b : a), /** @type {[number, number]} */ ([1, 1]));
}

/** @param {import("../sums/sums.js").MapSums | null} sums @param {number[] | null} columns @param {[number, number]} grid */
function mapOf(sums, columns, grid) {
  return sums?.count && columns ? resample(sums.map(columns), sums.grid, grid) : null;
}

/** Second minus first; null of other than two. @param {(Float64Array | null)[]} maps */
function differenceOf(maps) {
  const [a, b] = maps;
  return maps.length === 2 && a && b ? b.map((value, at) => value - a[at]) : null;
}

/** @param {number[] | undefined} values */
const subtracted = (values) => (values?.length === 2 ? values[1] - values[0] : undefined);

/** How far amounts lie apart. @param {number[] | undefined} values */
function spreadOf(values) {
  const known = (values ?? []).filter((value) => !Number.isNaN(value));
  return known.length > 1 ? Math.max(...known) - Math.min(...known) : -1;
}

/** @param {import("./shared-words.js").SharedWord | undefined} word @param {Map<string, number[]>} amounts @param {Side[]} sides @param {string} place */
function sayWord(word, amounts, sides, place) {
  if (!word) return "These traces have no word in common.";
  const values = amounts.get(word.id) ?? [];
  return `${place}, ${word.name}: ${sides.map((side, at) => `${visible(side.label)} ${percent(values[at] ?? Number.NaN)}`).join(", ")}`;
}

/** @param {number} place @param {[number, number]} grid */
const fractionText = (place, [rows, columns]) =>
  [(Math.floor(place / columns) + 0.5) / rows, ((place % columns) + 0.5) / columns]
    .map((part) => part.toFixed(4))
    .join(",");

/** The place of a point, as parts of height and width: traces may have other grids. @param {string} text @param {[number, number]} grid */
function readFraction(text, [rows, columns]) {
  const [down, across] = text.split(",").map(Number);
  return text && down >= 0 && down < 1 && across >= 0 && across < 1
    ? Math.floor(down * rows) * columns + Math.floor(across * columns)
    : null;
}
