import { TextTrace } from "../data/texts.js";
import { percent } from "../draw/colours.js";
import { largest, paintMap } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { Scale } from "../parts/scales.js";
import { TraceImage } from "../parts/trace-image.js";
import { resample } from "../sums/resample.js";
import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";

/** @typedef {import("../sums/sums.js").Region} Region */

const BLOCK = "image.image";
const MOST = 300; // layers times steps that are read of a place; of more, a step in the middle

/**
 * Where in the picture a pinned place looks: its rows of `image.image`, where they were kept.
 * @param {object} props
 * @param {import("../data/trace.js").Trace} props.trace
 * @param {import("../sums/work.js").Work} props.work
 * @param {any} props.selection
 * @param {string} props.selectionKey  the same for the same selection
 * @param {Region | null} props.region  the pinned place
 * @param {[number, number]} props.grid  that it is on
 * @param {string | null} props.picture
 * @param {string} props.name   of files
 * @param {string} props.about  how the picture was made
 */
export function PlaceLooks({ trace, work, selection, selectionKey, region, grid, picture, name, about }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [held, hold] = useState(
    /** @type {{map: Float64Array | null, grid: [number, number], note: string, error: string}} */ ({
      map: null,
      grid: [1, 1],
      note: "",
      error: "",
    }),
  ); // prettier-ignore
  const matrices = useMemo(() => new TextTrace(trace.facts), [trace]);
  const kinds = matrices.nets.filter(
    (/** @type {any} */ kind) => kind.block === BLOCK && kind.grid && kind.tower === selection.net.layers[0].tower,
  );
  useEffect(() => {
    if (!region || !kinds.length) return;
    const stop = new AbortController();
    lookFrom(matrices, kinds, work, selection, region, grid, stop.signal)
      .then((found) => !stop.signal.aborted && hold({ ...found, error: "" }))
      .catch(
        (/** @type {Error} */ error) =>
          !stop.signal.aborted && hold({ map: null, grid: [1, 1], note: "", error: error.message }),
      );
    return () => stop.abort();
  }, [matrices, selectionKey, region?.join()]);
  const top = held.map ? largest(held.map) : 0;
  useEffect(() => {
    if (canvas.current && held.map && region) paintMap(canvas.current, held.map, held.grid, { top, alpha: 0.8 });
  }, [held, region]);
  if (!kinds.length) return null;
  if (!region) return html`<p class="faint">Pin a place to see where in the image it looks.</p>`;
  const box = `left:${(100 * region[1]) / grid[1]}%;top:${(100 * region[0]) / grid[0]}%;width:${(100 * (region[3] - region[1])) / grid[1]}%;height:${(100 * (region[2] - region[0])) / grid[0]}%`;
  const table = () => ({
    head: ["row", "column", "attention"],
    rows: Array.from(held.map ?? [], (value, at) => [Math.floor(at / held.grid[1]), at % held.grid[1], value]),
  });
  return html`<section class="place-looks" aria-label="Where this place looks"><h2>Where this place looks</h2>
    <div id="place-looks"><div class="panel-box" style=${`aspect-ratio:${grid[1]}/${grid[0]}`}>${picture && html`<${TraceImage} source=${picture} style="filter:grayscale(.9)" />`}<canvas ref=${canvas} aria-hidden="true"></canvas><div class="cursor pinned" style=${box}></div></div>
    ${held.map && html`<${Scale} top=${percent(top)}>attention to a cell<//>`}</div>
    <p class="faint" aria-live="polite">${held.error || held.note}${held.map && ` Brightest is ${percent(top)} of its attention, in a cell of ${held.grid.join(" × ")}.`}</p>
    ${held.map && html`<${Save} figure="place-looks" name=${`${name}-looks`} title=${["Where the marked place looks", about, held.note]} caption=${`Attention to each cell of ${held.grid.join(" × ")}.`} tables=${{ CSV: table }} />`}</section>`;
}

/**
 * Mean over layers, steps and the cells of a place of what it gives to each cell, on the finest grid.
 * @param {TextTrace} trace
 * @param {any[]} kinds
 * @param {import("../sums/work.js").Work} work
 * @param {any} selection
 * @param {Region} region
 * @param {[number, number]} grid  that the region is on
 * @param {AbortSignal} signal
 */
export async function lookFrom(trace, kinds, work, selection, region, grid, signal) {
  const layers = kinds.flatMap((kind) => kind.layers.map((/** @type {any} */ layer) => layer.index));
  const chosen = selection.layers?.some((/** @type {number} */ index) => layers.includes(index))
    ? selection.layers
    : null;
  const middle = trace.steps[trace.steps.length >> 1];
  const isMuch = !selection.steps && trace.hasStepMaps && trace.steps.length * (chosen ?? layers).length > MOST;
  const steps = isMuch ? [middle.index] : selection.steps;
  /** @type {{map: Float64Array, grid: [number, number], weight: number}[]} */
  const found = [];
  for (const kind of kinds) {
    const rows = rowsOf(region, grid, kind.grid);
    const own = { ...selection, net: kind, steps, layers: chosen, heads: null };
    const job = {
      ...trace.matrixJob(own, work.source.base),
      only: { rows, of: kind.queries.length },
      queries: rows.map((row) => kind.queries[row]),
    };
    if (!job.layers.length || !job.shards.length) continue;
    const sums = await work.run(job, signal, () => {});
    const there = rows.map((_, at) => at).filter((at) => sums.counts[at]);
    if (!there.length || signal.aborted) continue;
    const map = new Float64Array(sums.columns);
    for (const at of there) for (const [column, value] of sums.row(at).entries()) map[column] += value / there.length;
    found.push({ map, grid: kind.grid, weight: sums.counts[there[0]] });
  }
  if (!found.length)
    return {
      map: null,
      grid: /** @type {[number, number]} */ ([1, 1]),
      note: "No layer of this kind ran in the chosen steps.",
    };
  const finest = found.reduce((a, b) => (b.map.length > a.map.length ? b : a)).grid;
  const weights = found.reduce((sum, { weight }) => sum + weight, 0);
  const map = new Float64Array(finest[0] * finest[1]);
  for (const one of found) {
    const cells = one.map.length / map.length; // a coarse cell's amount is shared out among those that it covers
    resample(one.map, one.grid, finest).forEach((value, at) => {
      map[at] += (value * cells * one.weight) / weights;
    });
  }
  const which = chosen ? `layer ${chosen.join(", ")}` : `mean of ${layers.length} layers`;
  return { map, grid: finest, note: `${which}, ${steps ? `step ${steps.join(", ")}` : "all steps"}.` };
}

/** The rows of a matrix whose cells a region covers. @param {Region} region @param {[number, number]} grid @param {[number, number]} own */
function rowsOf([top, left, bottom, right], grid, own) {
  const span = (/** @type {number} */ first, /** @type {number} */ stop, /** @type {number} */ axis) => {
    const start = Math.floor((first * own[axis]) / grid[axis]);
    return [start, Math.max(start + 1, Math.ceil((stop * own[axis]) / grid[axis]))];
  };
  const [firstRow, lastRow] = span(top, bottom, 0);
  const [firstColumn, lastColumn] = span(left, right, 1);
  const rows = [];
  for (let row = firstRow; row < lastRow; row++)
    for (let column = firstColumn; column < lastColumn; column++) rows.push(row * own[1] + column);
  return rows;
}
