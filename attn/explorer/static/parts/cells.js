import { INFERNO } from "../draw/colours.js";
import { Save } from "../draw/saving.js";
import { visible } from "../safe.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Scale } from "./scales.js";

const HEIGHT = 24; // a row is something to point at
const WIDE = 168; // of a sparkline

/**
 * Every layer and head: a measure of the word, or of the layer itself.
 *
 * @typedef {{name: string, label: string, value: (one: import("../data/masses.js").LayerMeasures, head: number) => number, format: (value: number) => string}} Measure
 *
 * @param {object} props
 * @param {import("../data/masses.js").Masses} props.masses
 * @param {number} props.loaded   steps that were read
 * @param {Measure[]} props.measures
 * @param {import("../data/trace.js").Selection} props.selection
 * @param {(layers: string, heads: string) => void} props.onChoose
 * @param {boolean} props.hasHeads
 * @param {string} props.name     of files
 * @param {string[]} props.about  what the trace is
 * @param {string} [props.shows]  what the layers are chosen for
 */
export function Cells({ masses, loaded, measures, selection, onChoose, hasHeads, name: file, about, shows = "image" }) {
  const [name, setName] = useState(measures[0].name);
  const [pointed, point] = useState(/** @type {{layer: number, head: number} | null} */ (null));
  const measure = measures.find((one) => one.name === name) ?? measures[0];
  const { layers } = selection.net;
  const rows = layers.map((layer) => rowOf(masses, layer, measure, selection.steps));
  const most = Math.max(...rows.flatMap((row) => row.heads).filter(Number.isFinite), 1e-12);
  const peak = Math.max(...rows.flatMap((row) => row.line).filter(Number.isFinite), 1e-12);
  const isLayer = (/** @type {number} */ index) => selection.layers?.includes(index) ?? false;
  const choose = (/** @type {number} */ layer, /** @type {number | null} */ head) => {
    const isSame = isLayer(layer) && selection.layers?.length === 1 && (head === null || selection.heads?.[0] === head);
    onChoose(isSame ? "" : String(layer), isSame || head === null || !hasHeads ? "" : String(head));
  };
  const row = pointed && rows[layers.findIndex((layer) => layer.index === pointed.layer)];
  const said =
    pointed && row
      ? `layer ${pointed.layer}, head ${pointed.head}: ${measure.format(row.heads[pointed.head])}`
      : `${said0(selection, shows)}${hasHeads ? "" : ` ${headsNote(masses.trace.leftOut)}`}`;
  const table = () => ({
    head: ["layer", "path", "head", measure.label],
    rows: rows.flatMap(({ layer, heads, mean }) =>
      [...heads, mean].map((value, head) => [
        layer.index,
        layer.path,
        head < heads.length ? head : "mean",
        Number.isNaN(value) ? "" : value,
      ]),
    ),
  });
  return html`<section class="cells-box" aria-label="Layers and heads"><div class="words-head"><h2>Layers and heads</h2>
      <label>of <select onChange=${(/** @type {any} */ event) => setName(event.target.value)}>${measures.map((one) => html`<option value=${one.name} selected=${one === measure}>${one.label}</option>`)}</select></label>
      <button aria-pressed=${String(!selection.layers)} onClick=${() => onChoose("", "")}>all layers</button></div>
    <p class="faint" aria-live="polite">${said}</p>
    <div class="cells-scroll"><div id="cells" class="cell-rows"><div class="cell-row head-row" aria-hidden="true">${["layer", "heads", "over steps", "mean"].map((head) => html`<span><span class="figure-text">${head}</span></span>`)}</div>
    ${rows.map((one) => html`<${Row} key=${one.layer.index} row=${one} most=${most} peak=${peak} loaded=${loaded} measure=${measure} selection=${selection} isChosen=${isLayer(one.layer.index)} point=${point} choose=${choose} />`)}
      <${Scale} top=${measure.format(most)}>${measure.label}, in a head<//></div></div>
    <${Save} figure="cells" name=${`${file}-layers`} title=${[`By layer and head: ${measure.label}`, ...about]} tables=${{ CSV: table }} /></section>`;
}

/** Why heads have no maps. @param {string[]} leftOut */
const headsNote = (leftOut) =>
  leftOut.length
    ? "Maps of single heads do not stand in this page."
    : "Maps of single heads were not kept: capture with --keep heads.";

/** @param {import("../data/trace.js").Selection} selection @param {string} shows */
function said0({ layers, heads, net }, shows) {
  const which = layers ? `layer ${layers.join(", ")}` : `all ${net.layers.length} layers`;
  return heads
    ? `The ${shows} above is of ${which}, head ${heads.join(", ")}.`
    : `The ${shows} above is the mean of ${which}, all heads.`;
}

/** @param {any} props */
function Row({ row, most, peak, loaded, measure, selection, isChosen, point, choose }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [head, setHead] = useState(0);
  const { layer, heads, line, mean } = row;
  const width = Math.max(6, Math.min(26, Math.floor(420 / heads.length)));
  useEffect(() => {
    if (canvas.current) draw(canvas.current, heads, most, width, isChosen ? selection.heads : null);
  }, [loaded, measure.label, most, selection, isChosen]);
  const headAt = (/** @type {MouseEvent} */ event) =>
    Math.max(0, Math.min(heads.length - 1, Math.floor(event.offsetX / width)));
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const next = { ArrowLeft: head - 1, ArrowRight: head + 1 }[event.key];
    if (next !== undefined) {
      const own = Math.max(0, Math.min(heads.length - 1, next));
      setHead(own);
      point({ layer: layer.index, head: own });
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") focusRow(event);
    else if (event.key === "h") choose(layer.index, head);
    else return;
    event.preventDefault();
  };
  const points = line.map(
    (/** @type {number} */ value, /** @type {number} */ at) =>
      `${((at + 0.5) * WIDE) / line.length},${(HEIGHT - 3 - ((HEIGHT - 6) * (value || 0)) / peak).toFixed(1)}`,
  );
  return html`<div class=${`cell-row ${isChosen ? "chosen" : ""}`}><button class="layer" aria-pressed=${String(isChosen)} title=${visible(layer.path)} onClick=${() => choose(layer.index, null)} onKeyDown=${onKey} onFocus=${() => point({ layer: layer.index, head })} onBlur=${() => point(null)}><span class="figure-text"><span class="number">${layer.index}</span> <bdi>${shortPath(layer.path)}</bdi></span></button>
    <canvas ref=${canvas} style=${`width:${width * heads.length + 1}px;height:${HEIGHT}px`} aria-hidden="true" onMouseMove=${(/** @type {MouseEvent} */ event) => point({ layer: layer.index, head: headAt(event) })} onMouseLeave=${() => point(null)} onClick=${(/** @type {MouseEvent} */ event) => choose(layer.index, headAt(event))}></canvas>
    <svg width=${WIDE} height=${HEIGHT} aria-hidden="true"><polyline points=${points.join(" ")} />${points.length === 1 && html`<circle cx=${WIDE / 2} cy=${points[0].split(",")[1]} r="2" />`}</svg><span class="amount"><span class="figure-text">${measure.format(mean)}</span></span></div>`;
}

/** @param {HTMLCanvasElement} canvas @param {number[]} values @param {number} most @param {number} width @param {number[] | null} chosen */
function draw(canvas, values, most, width, chosen) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = (width * values.length + 1) * ratio; // a line around each cell: the paper can be as dark as it
  canvas.height = HEIGHT * ratio;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.scale(ratio, ratio);
  values.forEach((value, head) => {
    const level = 3 * Math.round(255 * Math.max(0, Math.min(1, value / most)));
    context.fillStyle = Number.isFinite(value)
      ? `rgb(${INFERNO[level]} ${INFERNO[level + 1]} ${INFERNO[level + 2]})`
      : "transparent";
    context.fillRect(head * width + 1, 1, width - 1, HEIGHT - 2);
    if (!chosen?.includes(head)) return;
    context.strokeStyle = "#fff";
    context.lineWidth = 2;
    context.strokeRect(head * width + 2, 2, width - 3, HEIGHT - 4);
  });
}

/** @param {import("../data/masses.js").Masses} masses @param {import("../data/trace.js").Layer} layer @param {Measure} measure @param {number[] | null} steps */
function rowOf(masses, layer, measure, steps) {
  const heads = Array.from({ length: layer.heads }, (_, head) => masses.mean(layer.index, head, measure.value, steps));
  const line = [...masses.steps.keys()].map((step) => masses.mean(layer.index, null, measure.value, [step]));
  return { layer, heads, line, mean: masses.mean(layer.index, null, measure.value, steps) };
}

/** @param {KeyboardEvent} event */
function focusRow(event) {
  const row = /** @type {HTMLElement} */ (event.target).closest(".cell-row");
  const other = event.key === "ArrowDown" ? row?.nextElementSibling : row?.previousElementSibling;
  other?.querySelector("button")?.focus();
}

/** The telling parts of a module's path. @param {string} path */
export function shortPath(path) {
  return visible(
    path
      .replace("down_blocks", "down")
      .replace("up_blocks", "up")
      .replace("mid_block", "mid")
      .replace("transformer_blocks", "block")
      .replace("attentions", "attn")
      .replace(/\.(attn|attn2|processor)$/, ""),
  );
}
