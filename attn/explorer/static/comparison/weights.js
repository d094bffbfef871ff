import { numberOf } from "../data/tables.js";
import { percent } from "../draw/colours.js";
import { Save } from "../draw/saving.js";
import { visible } from "../safe.js";
import { html, useState } from "../vendor/preact.js";

/**
 * What a LoRA changes in the weights of each layer, against what changes in its attention.
 * @param {{rows: import("../data/tables.js").Row[], name: string, about: string}} props  of `lora_weights.csv`
 */
export function Weights({ rows, name, about }) {
  const [at, point] = useState(/** @type {number | null} */ (null));
  const layers = rows.filter((row) => Number.isFinite(numberOf(row.norm)) && Number.isFinite(numberOf(row.change)));
  if (!layers.length) return null;
  const [wide, high, left, below] = [560, 280, 70, 34];
  const norms = layers.map((row) => numberOf(row.norm));
  const changes = layers.map((row) => numberOf(row.change));
  const x = (/** @type {number} */ norm) => left + ((wide - left - 16) * norm) / (Math.max(...norms) || 1);
  const y = (/** @type {number} */ change) => (high - below) * (1 - (0.84 * change) / (Math.max(...changes) || 1));
  const r = correlation(norms, changes);
  const said =
    at === null
      ? `One point for each of ${layers.length} layers${Number.isNaN(r) ? "" : `; their correlation is ${r.toFixed(2)}`}. Layers of large change of weights need not be those whose attention changes.`
      : `${visible(layers[at].layer_name)}: ‖ΔW‖ ${norms[at].toFixed(3)}${layers[at].relative ? ` (${percent(numberOf(layers[at].relative))} of ‖W‖)` : ""}, attention changes by ${percent(changes[at])}`;
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const by = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1 })[
      event.key
    ];
    if (!by) return;
    point(at === null ? 0 : (at + by + layers.length) % layers.length);
    event.preventDefault();
  };
  const table = () => ({
    head: ["layer", "layer_name", "norm", "relative", "change"],
    rows: layers.map((row) => [row.layer, row.layer_name, row.norm, row.relative ?? "", row.change]),
  });
  return html`<section class="cells-box" aria-label="Weights against attention"><h2>Weights against attention</h2><p class="faint" aria-live="polite">${said}</p>
    <div id="weights" class="chart" tabindex="0" role="application" aria-label="One point for each layer. Arrow keys go from layer to layer." onKeyDown=${onKey}><svg class="axes" width=${wide} height=${high} aria-hidden="true">
      <line class="zero" x1=${left} x2=${wide} y1=${y(0)} y2=${y(0)} /><line class="zero" x1=${left} x2=${left} y1="0" y2=${y(0)} />
      <text x=${wide} y=${high - 4} font-size="12" text-anchor="end">‖ΔW‖ of the layer, to ${Math.max(...norms).toFixed(2)}</text><text x=${left - 6} y="16" font-size="11" text-anchor="end">${percent(Math.max(...changes))}</text><text x=${left + 8} y="16" font-size="12">mean absolute change of mass</text><text x=${left - 6} y=${y(0)} font-size="11" text-anchor="end">0</text>
      ${layers.map((row, place) => html`<g class=${`point ${place === at ? "is-current" : ""}`} onMouseOver=${() => point(place)} onMouseLeave=${() => point(null)}><circle class="dot" cx=${x(norms[place])} cy=${y(changes[place])} r="5" />${layers.length <= 12 && html`<text x=${x(norms[place])} y=${y(changes[place]) - 8} font-size="11" text-anchor=${norms[place] > 0.8 * Math.max(...norms) ? "end" : "middle"}>${visible(row.layer_name)}</text>`}</g>`)}</svg></div>
    <${Save} figure="weights" name=${`${name}-weights`} title=${["Change of attention against change of weights", about]} caption=${`One point for each of ${layers.length} layers${Number.isNaN(r) ? "" : `; r = ${r.toFixed(2)}`}.`} tables=${{ CSV: table }} /></section>`;
}

/** Pearson's correlation; NaN where one of the two does not vary. @param {number[]} a @param {number[]} b */
export function correlation(a, b) {
  const mean = (/** @type {number[]} */ values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const [ma, mb] = [mean(a), mean(b)];
  const sum = (/** @type {(at: number) => number} */ of) => a.reduce((all, _, at) => all + of(at), 0);
  const scale = Math.sqrt(sum((at) => (a[at] - ma) ** 2) * sum((at) => (b[at] - mb) ** 2));
  return a.length > 1 && scale > 0 ? sum((at) => (a[at] - ma) * (b[at] - mb)) / scale : Number.NaN;
}
