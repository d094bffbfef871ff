import { numberOf, Tables } from "../data/tables.js";
import { Keys } from "../keys.js";
import { Lost } from "../parts/checks.js";
import { visible } from "../safe.js";
import { html, render, useEffect, useMemo, useState } from "../vendor/preact.js";
import { CellChanges, StepChanges } from "./cell-changes.js";
import { CutEffects } from "./cuts.js";
import { DifferenceMap } from "./difference-map.js";
import { Pairs } from "./pairs.js";
import { SweepCurve } from "./sweep.js";
import { Weights } from "./weights.js";
import { WordChanges } from "./word-changes.js";

/**
 * Screen C: what a comparison found.
 * @param {HTMLElement} root
 * @param {import("../screens.js").Item} item
 * @param {import("../state.js").State} state
 */
export async function showComparison(root, item, state) {
  const tables = new Tables(item.source, item.facts.tables);
  render(html`<${Comparison} item=${item} state=${state} tables=${tables} />`, root);
  return () => render(null, root);
}

/** @type {import("../keys.js").Shortcut[]} */
const COMPARISON_KEYS = [
  { keys: "Tab", does: "the next word, layer, pair or map" },
  { keys: "Enter", does: "on a word: show where it changed; on a pair: see it side by side; on a map: pin the place" },
  { keys: "← → ↑ ↓", does: "on a map: the next place; on a chart: the next point" },
];

/** @typedef {import("../data/tables.js").Row} Row */

/** What a row is about. @param {Row} row */
export const wordId = ({ word, occurrence, segment }) => `${word}|${occurrence}|${segment}`;

/** @param {Row} row @param {boolean} isRepeated whether the word stands elsewhere too @returns {string} */
export function wordName({ word, occurrence, segment }, isRepeated) {
  return visible(isRepeated ? `${word} (${occurrence}, ${segment})` : word);
}

/** @param {{item: import("../screens.js").Item, state: import("../state.js").State, tables: Tables}} props */
function Comparison({ item, state, tables }) {
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  const { facts } = item;
  const names = facts.variants.map((/** @type {any} */ one) => one.name);
  const first = names.findLast((/** @type {string} */ name) => !(name in facts.controls)) ?? names.at(-1);
  const variant = state.choice("variant", names, first);
  const measure = state.choice("measure", ["share"], "mass");
  const read = useRows(tables, [
    `${measure}.csv`,
    "mass_pairs.csv",
    "difference.csv",
    `${measure}_layers.csv`,
    "mass_heads.csv",
    `${measure}_steps.csv`,
    "maps.csv",
    "images.csv",
    "image_pairs.csv",
    "lora_weights.csv",
    "cuts.csv",
    "sweep.csv",
  ]); // prettier-ignore
  const of = (/** @type {string} */ name) =>
    read.rows.get(name)?.filter((row) => !row.variant_name || row.variant_name === variant) ?? [];
  const words = useMemo(() => rankedWords(of(`${measure}.csv`)), [read.count, variant, measure]);
  const named = read.isDone ? state.read("word", (id) => words.find((word) => word.id === id) ?? null) : null;
  const current = named ?? words.find((word) => word.id === state.get("word")) ?? words[0];
  const rowsOf = (/** @type {string} */ name) => of(name).filter((row) => current && wordId(row) === current.id);
  const shown = facts.variants[names.indexOf(variant)];
  const about = `${variant} against ${facts.base}, ${shown.pairs} ${shown.pairs === 1 ? "pair" : "pairs"} of images`;
  const shortcuts = [
    { keys: "[", does: "the word before", run: () => step(words, current, -1, state) },
    { keys: "]", does: "the next word", run: () => step(words, current, 1, state) },
    { keys: "Escape", does: "free what is pinned", run: () => state.set({ place: "" }) },
    { keys: "?", does: "this list" },
  ];
  const choice = (
    /** @type {string} */ legend,
    /** @type {string} */ name,
    /** @type {[string, string][]} */ options,
    /** @type {string} */ now,
  ) =>
    options.length > 1 &&
    html`<fieldset class="switch"><legend>${legend}</legend>${options.map(([value, text]) => html`<button aria-pressed=${String(value === now)} onClick=${() => state.set({ [name]: value })}>${text}</button>`)}</fieldset>`;
  return html`<${Keys} shortcuts=${shortcuts} own=${COMPARISON_KEYS} />
    <h1>${visible(variant)} against ${visible(facts.base)}</h1>
    <${Lost} label="The comparison" source=${item.source} status="" error=${read.error} />
    ${facts.answer && html`<p class="answer"><bdi>${visible(facts.answer)}</bdi></p>`}
    ${variant in facts.controls && html`<p class="faint">A control: ${visible(facts.controls[variant])}.</p>`}
    <${Differences} shown=${shown} warnings=${facts.warnings} />
    ${read.error && html`<p class="error" role="alert">${visible(read.error)}</p>`}
    <div class="switches">${choice(
      "variant",
      "variant",
      names.map((/** @type {string} */ name) => [
        name,
        `${visible(name)}${name in facts.controls ? " (control)" : ""}`,
      ]),
      variant,
    )}
      ${choice(
        "of",
        "measure",
        [
          ["", "mass"],
          ["share", "share"],
        ],
        measure === "share" ? "share" : "",
      )}</div>
    <${CutEffects} rows=${read.rows.get("cuts.csv")?.filter((row) => row.cut === variant) ?? []} />
    <div class="columns roomy"><div class="left">
      ${words.length > 0 && html`<${WordChanges} words=${words} current=${current} measure=${measure} name=${item.label} about=${about} onChoose=${(/** @type {string} */ id) => state.set({ word: id, place: "" })} />`}
      ${!words.length && read.isDone && html`<p>This comparison has no table of words: it was made of other parts (--only).</p>`}
    </div><div class="right">
      ${current && html`<${DifferenceMap} rows=${rowsOf("difference.csv")} measures=${rowsOf("maps.csv")} word=${current.name} base=${facts.base} variant=${variant} state=${state} isRead=${read.isDone} name=${`${item.label}-${current.word}`} about=${about} />`}
    </div></div>
    <${Pairs} pairs=${facts.pairs} base=${facts.base} variant=${variant} images=${of("images.csv")} levels=${of("image_pairs.csv")} changes=${rowsOf("mass_pairs.csv")} word=${current?.name ?? ""} />
    ${
      current &&
      html`<${CellChanges} layers=${rowsOf(`${measure}_layers.csv`)} heads=${measure === "mass" ? rowsOf("mass_heads.csv") : []} word=${current.name} measure=${measure} name=${`${item.label}-${current.word}`} about=${about} />
      <${StepChanges} rows=${rowsOf(`${measure}_steps.csv`)} word=${current.name} measure=${measure} base=${facts.base} variant=${variant} name=${`${item.label}-${current.word}`} about=${about} />`
    }
    <${Weights} rows=${of("lora_weights.csv")} name=${item.label} about=${about} />
    <${SweepCurve} rows=${read.rows.get("sweep.csv") ?? []} sweep=${facts.sweep} name=${item.label} about=${about} />`;
}

/** @param {any[]} words @param {any} current @param {number} by @param {import("../state.js").State} state */
function step(words, current, by, state) {
  const next = words[words.indexOf(current) + by];
  if (next) state.set({ word: next.id, place: "" });
}

/** What else differs, and what the reader should know. @param {{shown: any, warnings: string[]}} props */
function Differences({ shown, warnings }) {
  const value = (/** @type {any} */ one) =>
    one === null || one === undefined ? "–" : visible(typeof one === "string" ? one : JSON.stringify(one));
  const notes = [...shown.notes, ...warnings];
  return html`<p class="faint">${shown.pairs} ${shown.pairs === 1 ? "pair of images: one pair has no interval" : "pairs of images"}, ${shown.same_noise} of them begun from the same noise.</p>
    ${
      shown.differences.length > 0 &&
      html`<table class="differences"><caption>What differs between the requests</caption><thead><tr><th scope="col">setting</th><th scope="col">baseline</th><th scope="col">variant</th></tr></thead>
      <tbody>${shown.differences.map((/** @type {any} */ one) => html`<tr><td><bdi>${visible(one.name)}</bdi></td><td><bdi>${value(one.base)}</bdi></td><td><bdi>${value(one.variant)}</bdi></td></tr>`)}</tbody></table>`
    }
    ${notes.length > 0 && html`<ul class="notices">${notes.map((note) => html`<li><bdi>${visible(note)}</bdi></li>`)}</ul>`}`;
}

/**
 * @typedef {object} WordChange
 * @property {string} id
 * @property {string} word
 * @property {string} name
 * @property {number} base
 * @property {number} variant
 * @property {number} change
 * @property {number} relative
 * @property {number} low    NaN where there are too few pairs
 * @property {number} high
 * @property {number} n
 */

/** Words by their change, the largest first. @param {Row[]} rows @returns {WordChange[]} */
function rankedWords(rows) {
  const counts = new Map();
  for (const row of rows) counts.set(row.word, (counts.get(row.word) ?? 0) + 1);
  return rows
    .map((row) => ({
      id: wordId(row),
      word: row.word,
      name: wordName(row, counts.get(row.word) > 1),
      base: numberOf(row.base),
      variant: numberOf(row.variant),
      change: numberOf(row.change),
      relative: numberOf(row.relative_change),
      low: numberOf(row.low),
      high: numberOf(row.high),
      n: numberOf(row.n),
    }))
    .sort((a, b) => Math.abs(b.change) - Math.abs(a.change));
}

/** Tables, as they come. @param {Tables} tables @param {string[]} names */
function useRows(tables, names) {
  const [held, setHeld] = useState(
    /** @type {{rows: Map<string, Row[]>, count: number, error: string, isDone: boolean}} */ ({
      rows: new Map(),
      count: 0,
      error: "",
      isDone: false,
    }),
  ); // prettier-ignore
  useEffect(() => {
    let isOver = false;
    const show = (/** @type {any} */ change) => !isOver && setHeld((before) => ({ ...before, ...change }));
    const rows = new Map(held.rows);
    (async () => {
      for (const name of names) {
        rows.set(name, await tables.rows(name));
        show({ rows, count: rows.size });
      }
      show({ isDone: true });
    })().catch((/** @type {Error} */ error) => show({ error: error.message }));
    return () => {
      isOver = true;
    };
  }, [names.join()]);
  return held;
}
