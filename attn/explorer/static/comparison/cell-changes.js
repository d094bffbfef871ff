import { largestSize, numberOf } from "../data/tables.js";
import { percent } from "../draw/colours.js";
import { paintDifference } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { shortPath } from "../parts/cells.js";
import { Ramp } from "../parts/map-panel.js";
import { visible } from "../safe.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { direction, points } from "./word-changes.js";

/** @typedef {import("../data/tables.js").Row} Row */

const HIGH = 22;
const HEADS = ["layer", "heads", "mean, points", "95 % interval"];

/**
 * The change of a word in each layer and head.
 * @param {{layers: Row[], heads: Row[], word: string, measure: string, name: string, about: string}} props
 */
export function CellChanges({ layers, heads, word, measure, name, about }) {
  const [said, say] = useState("");
  if (!layers.length) return null;
  const ofLayer = (/** @type {Row} */ row) => heads.filter((head) => head.layer === row.layer);
  const most = largestSize([...layers, ...heads].map((row) => numberOf(row.change)));
  const table = () => ({
    head: ["layer", "layer_name", "head", "base", "variant", "change", "low", "high"],
    rows: [...layers, ...heads].map((row) =>
      [row.layer, row.layer_name, row.head, row.base, row.variant, row.change, row.low, row.high].map(
        (cell) => cell ?? "",
      ),
    ),
  });
  return html`<section class="cells-box" aria-label="Change by layer and head"><h2>Change of <bdi>“${word}”</bdi> by layer and head</h2>
    <p class="faint" aria-live="polite">${said || `Blue is less, orange more, grey where the 95 % interval holds 0; from ${points(-most)} to ${points(most)} points of ${measure}.`}</p>
    <div id="cell-changes" class="change-rows">${HEADS.map((head) => html`<span class="faint figure-text" aria-hidden="true">${head === "heads" && !heads.length ? "all heads" : head}</span>`)}${layers.map((row) => html`<${LayerChange} key=${row.layer} row=${row} heads=${ofLayer(row)} most=${most} say=${say} />`)}<div class="scale ticks"><${Ramp} kind="change" /><span class="figure-text">${points(-most)}</span><span class="figure-text">0</span><span class="figure-text">${points(most)} points</span></div></div>
    <${Save} figure="cell-changes" name=${`${name}-layers`} title=${[`Change of ${measure} of “${word}” by layer and head`, about]} caption="Blue is less, orange more, grey where the 95 % interval holds 0." tables=${{ CSV: table }} /></section>`;
}

/** @param {{row: Row, heads: Row[], most: number, say: (text: string) => void}} props */
function LayerChange({ row, heads, most, say }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [head, setHead] = useState(0);
  const cells = heads.length ? heads : [row];
  useEffect(() => {
    if (canvas.current)
      paintDifference(canvas.current, [1, cells.length], (at) =>
        direction(intervalOf(cells[at])) === "unsure" ? null : numberOf(cells[at].change) / most,
      );
  }, [heads, row, most]);
  const tell = (/** @type {number} */ at) => {
    setHead(at);
    say(sayCell(cells[at]));
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const by = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1 })[event.key];
    if (!by) return;
    tell(Math.max(0, Math.min(cells.length - 1, head + by)));
    event.preventDefault();
  };
  const wide = Math.max(8, Math.min(26, Math.floor(420 / cells.length)));
  return html`<div class="change-row"><span class="figure-text layer-name"><span class="number">${row.layer}</span> <bdi>${shortPath(row.layer_name || row.layer)}</bdi></span>
    <canvas ref=${canvas} tabindex="0" role="img" aria-label=${`Layer ${visible(row.layer_name)}: ${sayCell(row)}`} style=${`width:${wide * cells.length}px;height:${HIGH}px`} onKeyDown=${onKey} onFocus=${() => tell(head)}
      onMouseMove=${(/** @type {MouseEvent} */ event) => tell(Math.max(0, Math.min(cells.length - 1, Math.floor(event.offsetX / wide))))} onMouseLeave=${() => say("")}></canvas>
    <span class="figure-text amount">${points(numberOf(row.change))}</span><span class="figure-text faint">${rangeOf(row)}</span></div>`;
}

/** @param {Row} row */
const intervalOf = (row) => ({ low: numberOf(row.low), high: numberOf(row.high) });

/** @param {Row} row */
function rangeOf(row) {
  const interval = intervalOf(row);
  return direction(interval) === "none" ? "" : `${points(interval.low)} to ${points(interval.high)}`;
}

/** @param {Row} row */
function sayCell(row) {
  const where =
    row.head === "mean" || !row.head ? `layer ${row.layer}, all heads` : `layer ${row.layer}, head ${row.head}`;
  const kind = direction(intervalOf(row));
  const interval = kind === "none" ? "no interval" : `${rangeOf(row)}${kind === "unsure" ? ", holds 0" : ""}`;
  return `${where}: ${percent(numberOf(row.base))} → ${percent(numberOf(row.variant))}, ${points(numberOf(row.change))} points (${interval})`;
}

/**
 * The change of a word from step to step, with its intervals.
 * @param {{rows: Row[], word: string, measure: string, base: string, variant: string, name: string, about: string}} props
 */
export function StepChanges({ rows, word, measure, base, variant, name, about }) {
  const [at, point] = useState(/** @type {number | null} */ (null));
  if (rows.length < 2) return null;
  const [wide, high, left] = [560, 180, 70];
  const bounds = rows
    .flatMap((row) => [numberOf(row.low), numberOf(row.high), numberOf(row.change)])
    .filter(Number.isFinite);
  const most = largestSize(bounds);
  const x = (/** @type {number} */ place) => left + ((place + 0.5) * (wide - left)) / rows.length;
  const y = (/** @type {number} */ value) => (high - 24) * (0.5 - (0.46 * value) / most);
  const table = () => ({
    head: ["step", "base", "variant", "change", "low", "high"],
    rows: rows.map((row) => [row.step, row.base, row.variant, row.change, row.low, row.high]),
  });
  const said =
    at === null
      ? `${visible(variant)} minus ${visible(base)}, mean over layers; bars are 95 % intervals.`
      : `step ${rows[at].step}: ${percent(numberOf(rows[at].base))} → ${percent(numberOf(rows[at].variant))}, ${points(numberOf(rows[at].change))} points ${rangeOf(rows[at]) && `(${rangeOf(rows[at])})`}`;
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const by = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1 })[event.key];
    if (!by) return;
    point(at === null ? 0 : Math.max(0, Math.min(rows.length - 1, at + by)));
    event.preventDefault();
  };
  return html`<section class="cells-box" aria-label="Change by step"><h2>Change of <bdi>“${word}”</bdi> by step</h2><p class="faint" aria-live="polite">${said}</p>
    <div id="step-changes" class="chart" tabindex="0" role="application" aria-label="Change by step. Left and right go from step to step." onKeyDown=${onKey}><svg class="axes" width=${wide} height=${high} aria-hidden="true">
      <line class="zero" x1=${left} x2=${wide} y1=${y(0)} y2=${y(0)} /><text x=${left - 6} y=${y(most) + 4} font-size="11" text-anchor="end">${points(most)}</text><text x=${left - 6} y=${y(0) + 4} font-size="11" text-anchor="end">0</text><text x=${left - 6} y=${y(-most) + 4} font-size="11" text-anchor="end">${points(-most)}</text>
      ${rows.map(
        (
          row,
          place,
        ) => html`<g class=${`point ${direction(intervalOf(row))} ${place === at ? "is-current" : ""}`} onMouseOver=${() => point(place)} onMouseLeave=${() => point(null)}>
        ${direction(intervalOf(row)) !== "none" && html`<line class="interval" x1=${x(place)} x2=${x(place)} y1=${y(numberOf(row.low))} y2=${y(numberOf(row.high))} />`}<circle class="dot" cx=${x(place)} cy=${y(numberOf(row.change))} r="5" /><text x=${x(place)} y=${high - 4} font-size="11" text-anchor="middle">${row.step}</text></g>`,
      )}</svg></div>
    <${Save} figure="step-changes" name=${`${name}-steps`} title=${[`Change of ${measure} of “${word}” by step, points`, about]} caption="Steps to the right; mean over layers. Bars are 95 % intervals, grey where they hold 0." tables=${{ CSV: table }} /></section>`;
}
