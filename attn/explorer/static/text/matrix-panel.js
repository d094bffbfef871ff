import { percent } from "../draw/colours.js";
import { paintMap } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { html, useEffect, useMemo, useRef } from "../vendor/preact.js";
import { MatrixView, parseWindow, readWindow, windowText } from "./matrix-view.js";

const BRIGHTEST = [1, 0.3, 0.1, 0.03, 0.01]; // of the largest cell
const MOST_SAVED = 250_000; // cells of a table

/**
 * The matrix with its scale, what can be changed of it, and what can be saved.
 * @param {object} props
 * @param {import("../sums/matrix.js").MatrixSums} props.sums
 * @param {import("../data/texts.js").Kind} props.net
 * @param {{rows: string[], columns: string[]}} props.names
 * @param {import("../state.js").State} props.state
 * @param {import("./matrix-view.js").Cell | null} props.cell
 * @param {() => import("./matrix-view.js").Cell | null} props.last
 * @param {boolean} props.isPinned
 * @param {(cell: import("./matrix-view.js").Cell | null) => void} props.onHover
 * @param {(cell: import("./matrix-view.js").Cell | null) => void} props.onPin
 * @param {string} props.name   of files
 * @param {string} props.about  how the text was made
 * @param {string} props.meant  what is shown, in words
 * @param {() => {head: string[], rows: any[][]}} props.table  of tokens
 */
export function MatrixPanel({
  sums,
  net,
  names,
  state,
  cell,
  last,
  isPinned,
  onHover,
  onPin,
  name,
  about,
  meant,
  table,
}) {
  const shown = state.read("view", (text) => parseWindow(text, sums)) ?? readWindow("", sums);
  const pooling = state.choice("pool", ["mean"]) === "mean" ? "mean" : "most";
  const scale = state.choice("scale", ["linear"]) === "linear" ? "linear" : "root";
  const largest = sums.largest || 1;
  const usual = BRIGHTEST.findLast((one) => one * largest >= sums.usual) ?? 1;
  const part = state.read("bright", (text) => BRIGHTEST.find((one) => String(one) === text) ?? null) ?? usual;
  const top = largest * part;
  const axes = useMemo(
    () => ({ ...names, rowSpans: spansOf(net.rows, net.segments), columnSpans: spansOf(net.columns, net.segments) }),
    [net, names],
  );
  const select = (
    /** @type {string} */ label,
    /** @type {string} */ field,
    /** @type {string} */ now,
    /** @type {[string, string][]} */ options,
  ) =>
    html`<label>${label} <select onChange=${(/** @type {any} */ event) => state.set({ [field]: event.target.value })}>${options.map(([value, text]) => html`<option value=${value} selected=${value === now}>${text}</option>`)}</select></label>`;
  const cellTable = () => ({
    head: ["row", "token", ...listedFrom(shown.column, shown.columns).map((at) => `${at} ${names.columns[at]}`)],
    rows: listedFrom(shown.row, shown.rows).map((row) => [
      row,
      names.rows[row],
      ...listedFrom(shown.column, shown.columns).map((column) => sums.value(row, column)),
    ]),
  });
  const isPooled = shown.rows > 500 || shown.columns > 500;
  const tables = { CSV: table, ...(shown.rows * shown.columns <= MOST_SAVED ? { "CSV of cells": cellTable } : {}) };
  const what = scale === "root" ? "that of the root" : "linear";
  return html`<h2>Who reads whom</h2><p class="faint">Rows read, columns are read; ${meant}. ${isPooled && `Each pixel shows the ${pooling === "mean" ? "mean" : "largest"} of its cells; come nearer for single ones.`}</p>
    <${MatrixView} sums=${sums} received=${sums.received} axes=${axes} window=${shown} top=${top} scale=${scale} pooling=${pooling} cell=${cell} last=${last} isPinned=${isPinned} onHover=${onHover} onPin=${(/** @type {any} */ one) => onPin(one)} onWindow=${(/** @type {any} */ window) => state.set({ view: windowText(window, sums) })} label="Matrix"><${RootScale} top=${top} scale=${scale} isCut=${part < 1} /><//>
    <div class="looks">${select("colours", "scale", scale, [
      ["", "root"],
      ["linear", "linear"],
    ])}
      ${select(
        "brightest at",
        "bright",
        String(part),
        BRIGHTEST.map((one) => [String(one), percent(largest * one)]),
      )}
      ${select("a pixel shows", "pool", pooling, [
        ["", "the largest cell"],
        ["mean", "the mean"],
      ])}</div>
    <${Save} figure="matrix-figure" name=${`${name}-matrix`} title=${["Who reads whom", about, meant]} caption=${`Rows read, columns are read. The scale is ${what}, 0 to ${percent(top)}${part < 1 ? " and more" : ""}.`} tables=${tables} />`;
}

/** @param {{top: number, scale: "root" | "linear", isCut: boolean}} props */
export function RootScale({ top, scale, isCut }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    const levels = Float64Array.from({ length: 256 }, (_, at) => at);
    if (canvas.current) paintMap(canvas.current, levels, [1, 256], { top: 255, floor: 1 });
  }, []);
  const middle = scale === "root" ? top / 4 : top / 2;
  return html`<div class="scale ticks"><canvas ref=${canvas} aria-hidden="true"></canvas><span class="figure-text">0</span><span class="figure-text">${percent(middle)}</span><span class="figure-text">${percent(top)}${isCut && " and more"}</span></div>`;
}

/** @param {number} first @param {number} count */
const listedFrom = (first, count) => Array.from({ length: count }, (_, at) => first + at);

/** Segments along an axis. @param {[number, number | null][]} axis @param {string[]} segments */
export function spansOf(axis, segments) {
  /** @type {import("./matrix-view.js").Span[]} */
  const spans = [];
  axis.forEach(([segment], at) => {
    const open = spans.at(-1);
    if (open && open.name === segments[segment]) open.stop = at + 1;
    else spans.push({ name: segments[segment], start: at, stop: at + 1 });
  });
  return spans;
}
