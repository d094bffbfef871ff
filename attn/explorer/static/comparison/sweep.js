import { decimals, numberOf } from "../data/tables.js";
import { Save } from "../draw/saving.js";
import { visible } from "../safe.js";
import { html, useState } from "../vendor/preact.js";
import { direction, points } from "./word-changes.js";

/**
 * The leading word and the images against the number that a sweep varies.
 * @param {{rows: import("../data/tables.js").Row[], sweep: any, name: string, about: string}} props  of `sweep.csv`
 */
export function SweepCurve({ rows, sweep, name, about }) {
  const [at, point] = useState(/** @type {number | null} */ (null));
  if (!rows.length) return null;
  const word = rows.find((row) => row.word)?.word ?? "";
  const { column, nameOf } = axisOf(sweep);
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const by = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1 })[event.key];
    if (!by) return;
    point(at === null ? 0 : Math.max(0, Math.min(rows.length - 1, at + by)));
    event.preventDefault();
  };
  const range = (/** @type {string} */ low, /** @type {string} */ high) =>
    low ? ` (${points(numberOf(low))} to ${points(numberOf(high))})` : "";
  const marks = rows
    .flatMap((row) => [
      Number(row.works) ? `works from ${column} ${nameOf(row)}` : "",
      Number(row.breaks) ? `breaks the image from ${column} ${nameOf(row)}` : "",
    ])
    .filter(Boolean);
  const none = `no ${column} is marked, as there are too few pairs, or no interval leaves 0 out`;
  const said =
    at === null
      ? `Against ${visible(sweep?.name ?? `the ${column}`)}: ${marks.length ? `it ${marks.join(", it ")}` : none}.`
      : `${column} ${nameOf(rows[at])}: “${visible(word)}” ${points(numberOf(rows[at].change))} points${range(rows[at].low, rows[at].high)}, images ${decimals(rows[at].level, 2)} of 255`;
  const table = () => ({ head: Object.keys(rows[0]), rows: rows.map((row) => Object.values(row)) });
  return html`<section class="cells-box" aria-label="Sweep"><h2>Sweep: from which ${column} on?</h2><p class="faint" aria-live="polite">${said}</p>
    <div id="sweep" class="chart" tabindex="0" role="application" aria-label=${`Sweep. Left and right go from ${column} to ${column}.`} onKeyDown=${onKey}>
      <${Curve} rows=${rows} sweep=${sweep} value="change" low="low" high="high" title=${`change of “${visible(word)}”, points`} format=${points} at=${at} point=${point} />
      <${Curve} rows=${rows} sweep=${sweep} value="level" low="level_low" high="level_high" title="difference of the images, of 255" format=${(/** @type {number} */ value) => value.toFixed(1)} at=${at} point=${point} /></div>
    <${Save} figure="sweep" name=${`${name}-sweep`} title=${[`Change of “${word}” and of the images by ${column}`, about]} caption="Bars are 95 % intervals." tables=${{ CSV: table }} /></section>`;
}

/**
 * What is swept: a scale, or the files of a training, which have the numbers of their names.
 * @param {any} sweep
 * @returns {{column: string, nameOf: (row: import("../data/tables.js").Row) => string}}
 */
function axisOf(sweep) {
  const files = Array.isArray(sweep?.files) ? sweep.files : [];
  if (!files.length) return { column: "scale", nameOf: (row) => row.scale };
  const scales = Array.isArray(sweep.scales) ? sweep.scales : [];
  return { column: "file", nameOf: (row) => visible(String(files[scales.indexOf(numberOf(row.file))] ?? row.file)) };
}

/** @param {{rows: import("../data/tables.js").Row[], sweep: any, value: string, low: string, high: string, title: string, format: (value: number) => string, at: number | null, point: (at: number | null) => void}} props */
function Curve({ rows, sweep, value, low, high, title, format, at, point }) {
  const [wide, tall, left, below] = [560, 190, 70, 26];
  const numbers = rows.flatMap((row) => [row[value], row[low], row[high]].map(numberOf)).filter(Number.isFinite);
  const top = Math.max(...numbers, 0);
  const bottom = Math.min(...numbers, 0);
  const { column, nameOf } = axisOf(sweep);
  const scales = rows.map((row) => numberOf(row[column]));
  const [first, last] = [Math.min(...scales, 0), Math.max(...scales, 0)];
  const x = (/** @type {number} */ scale) => left + 10 + ((wide - left - 30) * (scale - first)) / (last - first || 1);
  const y = (/** @type {number} */ number) => 20 + ((tall - below - 30) * (top - number)) / (top - bottom || 1);
  const line = rows.map((row, place) => `${x(scales[place])},${y(numberOf(row[value]))}`).join(" ");
  return html`<svg class="axes" width=${wide} height=${tall} aria-hidden="true"><line class="zero" x1=${left} x2=${wide} y1=${y(0)} y2=${y(0)} />
    <text x=${left + 8} y="12" font-size="12">${title}</text><text x=${left - 6} y=${y(top) + 4} font-size="11" text-anchor="end">${format(top)}</text><text x=${left - 6} y=${y(bottom) + 4} font-size="11" text-anchor="end">${format(bottom)}</text><polyline class="curve" points=${line} />
    ${rows.map((row, place) => {
      const kind = direction({ low: numberOf(row[low]), high: numberOf(row[high]) });
      return html`<g class=${`point ${kind} ${place === at ? "is-current" : ""}`} onMouseOver=${() => point(place)} onMouseLeave=${() => point(null)}>${kind !== "none" && html`<line class="interval" x1=${x(scales[place])} x2=${x(scales[place])} y1=${y(numberOf(row[low]))} y2=${y(numberOf(row[high]))} />`}<circle class="dot" cx=${x(scales[place])} cy=${y(numberOf(row[value]))} r="5" /><text x=${x(scales[place])} y=${tall - 6} font-size="11" text-anchor="middle">${nameOf(row)}</text></g>`;
    })}</svg>`;
}
