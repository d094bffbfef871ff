import { html, render, useEffect, useMemo, useRef, useState } from "./vendor/preact.js";
import { About } from "./about.js";
import { Cells } from "./cells.js";
import { PINNED, percent } from "./colours.js";
import { fileName, save, toCsv, toPng, toSvg } from "./export.js";
import { Frames } from "./frames.js";
import { Keys } from "./keys.js";
import { useMasses, useSums } from "./loading.js";
import { sinkLayers } from "./masses.js";
import { largest, paintMap, paintStrongest } from "./paint.js";
import { Prompt } from "./prompt.js";
import { labelOf, ranked, readingsOf } from "./readings.js";
import { visible } from "./safe.js";
import { Scale, Stage, Thumb, describeRegion, readRegion, regionText } from "./stage.js";
import { Steps } from "./steps.js";
import { Trace, readSelection } from "./trace.js";
import { Work } from "./work.js";
import { Words } from "./words.js";

/**
 * Screen A: a picture, and what its places read.
 * @param {HTMLElement} root
 * @param {import("./screens.js").Item} item
 * @param {import("./state.js").State} state
 */
export async function showPicture(root, item, state) {
  const work = new Work(item.source);
  const trace = new Trace(item.facts);
  render(html`<${Screen} trace=${trace} item=${item} state=${state} work=${work} />`, root);
  return () => {
    work.close();
    render(null, root);
  };
}

/** @param {{trace: Trace, item: import("./screens.js").Item, state: import("./state.js").State, work: Work}} props */
function Screen({ trace, item, state, work }) {
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  const [hovered, hoverPlace, lastHovered] = useFrame(/** @type {import("./sums.js").Region | null} */ (null));
  const [word, hoverWord] = useFrame(/** @type {string | null} */ (null));

  const selection = readSelection(trace, state);
  const others = [selection.branch, selection.sample, selection.net.name, selection.layers, selection.heads].join("/");
  const key = `${others}/${selection.steps}`;
  const loaded = useSums(trace, work, selection, key, state.get("read") === "all");
  const { masses, loaded: massSteps, error } = useMasses(item.source, trace, selection);
  const groups = useMemo(() => trace.groups(selection.net.keyset, selection.branch), [selection.net.keyset, selection.branch]);
  const branch = trace.branch(selection.branch);
  const segments = trace.facts.keysets[selection.net.keyset].segments;
  const { sums } = loaded;
  const grid = sums?.grid ?? selection.net.layers[0].grid;

  const pinned = readRegion(state.get("place"), grid);
  const placeOf = (/** @type {import("./sums.js").Region | null} */ own) => readRegion(state.get("place"), grid) ?? (own && readRegion(regionText(own), grid));
  const region = placeOf(hovered);
  const whole = useMemo(() => sums?.whole() ?? massColumns(masses, selection), [sums, massSteps, key]);
  const readings = useMemo(() => readingsOf(groups, region && sums ? sums.amounts(region) : whole, whole), [groups, sums, whole, regionText(region)]);
  const pins = state.get("pins").split(" ").filter((id) => groups.some((group) => group.id === id && group.columns.length));
  const fallback = useMemo(() => telling(groups, sums), [groups, sums]);
  const current = groups.find((one) => one.id === word && one.columns.length) ?? groups.find((one) => one.id === pins.at(-1)) ?? fallback;
  const map = useMemo(() => (sums && current ? sums.map(current.columns) : null), [sums, current?.id]);
  const top = map ? largest(map) : 0;

  const mode = pins.length > 1 ? state.get("mode", "map") : "map";
  const alpha = Number(state.get("alpha", "0.75"));
  const threshold = Number(state.get("threshold", "0"));
  const smooth = state.get("cells") !== "yes";
  const maps = useMemo(() => (sums ? pins.map((id) => sums.map(groups.find((one) => one.id === id)?.columns ?? [])) : []), [sums, pins.join(" ")]);
  const paint = (/** @type {HTMLCanvasElement} */ canvas) => {
    if (!map) canvas.getContext("2d")?.clearRect(0, 0, canvas.width, canvas.height);
    else if (mode === "strongest") paintStrongest(canvas, maps.map(relative), grid, PINNED, alpha);
    else paintMap(canvas, map, grid, { top, threshold, alpha });
  };

  const pin = (/** @type {string} */ id) => state.set({ pins: pins.includes(id) ? pins.filter((one) => one !== id).join(" ") : [...pins, id].join(" ") });
  const order = /** @type {import("./readings.js").Order} */ (state.get("sort", "attention"));
  const place = region ? describeRegion(region, grid) : "whole picture";
  const say = saidOf(readings, segments, region ? order : "attention", place);
  const name = current ? labelOf(current, segments) : "";
  const picture = trace.facts.pictures[selection.sample] ? item.source.url(trace.facts.pictures[selection.sample]) : null;
  const sketch = trace.facts.sketch && state.get("sketch") ? item.source.url(trace.facts.sketch) : null;
  const sink = (/** @type {import("./trace.js").Group} */ group) => {
    const count = sinkLayers(masses, groups.indexOf(group));
    return count ? ` (a sink in ${count} of ${selection.net.layers.length} layers)` : "";
  };
  const note = loaded.key === key ? loaded.note : "Reading …";

  const measures = measuresOf(masses, current, groups, segments);
  const cells = useMemo(() => masses.steps.size > 0 && html`<${Cells} masses=${masses} loaded=${massSteps} measures=${measures} selection=${selection} hasHeads=${trace.hasHeads}
    onChoose=${(/** @type {string} */ layers, /** @type {string} */ heads) => state.set({ layers, heads })} />`, [masses, massSteps, current?.id, key]);
  const frames = useMemo(() => current && trace.hasStepMaps && html`<${Frames} trace=${trace} work=${work} selection=${selection} selectionKey=${others} group=${current} picture=${picture} onChoose=${(/** @type {string} */ text) => state.set({ steps: text })} />`, [trace, current?.id, key, picture]);
  const stage = () => /** @type {HTMLElement} */ (document.getElementById("stage"));
  const files = {
    PNG: async () => save(`${fileName(`${item.label}-${name}`)}.png`, await toPng(stage(), `${name}: 0 to ${percent(top)} of the attention`)),
    SVG: () => save(`${fileName(`${item.label}-${name}`)}.svg`, toSvg(stage(), `${name}: 0 to ${percent(top)} of the attention`)),
    CSV: () => save(`${fileName(item.label)}.csv`, toCsv(["word", "segment", "place", "attention", "share", "lift"], readings.map((one) => [one.group.text, one.group.segment, place, one.attention, one.share, one.lift]))),
  };
  return html`<${Keys} shortcuts=${shortcutsOf(trace, state, selection, () => state.set({ place: "", pins: "" }))} />
  <h1 class="unseen">Attention of <bdi>${visible(item.label)}</bdi></h1>
  <${About} trace=${trace} source=${item.source} branch=${branch} />
  <${Switches} trace=${trace} state=${state} selection=${selection} />
  <${Prompt} branch=${branch} segments=${segments} readings=${readings} groups=${groups} current=${current?.id} pins=${pins} onPin=${pin} onHover=${hoverWord} sink=${sink} />
  <div class="columns"><div class="left">
    <${Stage} picture=${picture} sketch=${sketch} label=${name} paint=${paint} painted=${[map, maps, top, threshold, alpha, mode]} grid=${grid} region=${region} last=${() => placeOf(lastHovered())} isPinned=${Boolean(pinned)} smooth=${smooth} fade=${map ? Math.min(1, alpha * 1.2) : 0} say=${say}
      onHover=${(/** @type {any} */ at) => hoverPlace(at)} onPin=${(/** @type {any} */ at) => state.set({ place: regionText(at) })} />
    ${mode === "strongest" ? html`<p class="scale">${pins.map((id, at) => html`<span class="swatch" style=${`--colour:${PINNED[at % PINNED.length]}`}><bdi>${nameOf(groups, id, segments)}</bdi></span>`)} <span class="faint">where each is most above its mean</span></p>` : map && html`<${Scale} top=${top} label=${name} />`}
    <p class="status" aria-live="polite">${note}${loaded.ask > 0 && html` <button onClick=${() => state.set({ read: "all" })}>Read all steps (${(loaded.ask / 1e9).toFixed(2)} GB)</button>`}</p>
    ${(loaded.error || error) && html`<p class="error" role="alert">${visible(loaded.error || error)}</p>`}
    <${Steps} steps=${trace.hasStepMaps || !trace.hasMaps ? trace.steps : []} chosen=${selection.steps} onChoose=${(/** @type {string} */ text) => state.set({ steps: text })} />
    <${Looks} state=${state} alpha=${alpha} threshold=${threshold} smooth=${smooth} hasSketch=${Boolean(trace.facts.sketch)} files=${files} />
  </div><div class="right">
    <${Chips} pins=${pins} place=${pinned && place} name=${(/** @type {string} */ id) => nameOf(groups, id, segments)} onPin=${pin} onFree=${() => state.set({ place: "" })} mode=${mode} onMode=${(/** @type {string} */ text) => state.set({ mode: text })} />
    ${pins.length > 1 && html`<div class="thumbs">${pins.map((id, at) => html`<${Thumb} key=${id} picture=${picture} values=${maps[at] ?? null} grid=${grid} top=${maps[at] ? largest(maps[at]) : 0} alpha=${alpha} label=${html`<bdi>${nameOf(groups, id, segments)}</bdi> <span class="faint">to ${percent(maps[at] ? largest(maps[at]) : 0)}</span>`} isCurrent=${current?.id === id} onChoose=${() => state.set({ pins: [...pins.filter((one) => one !== id), id].join(" ") })} />`)}</div>`}
    <${Words} readings=${readings} order=${order} onOrder=${(/** @type {string} */ text) => state.set({ sort: text })} segments=${segments} title=${region ? `At ${place}` : "In the whole picture"} isPlace=${Boolean(region)} current=${current?.id} pins=${pins} onPin=${pin} onHover=${hoverWord} />
  </div></div>
  ${frames}${cells}`;
}

/** Branch, sample and network, where there are several. @param {any} props */
function Switches({ trace, state, selection }) {
  const { branches, samples } = trace.manifest;
  const names = /** @type {Record<string, string>} */ ({ cond: "prompt", uncond: "negative prompt", skip: "skipped layers" });
  const choice = (/** @type {string} */ label, /** @type {string} */ name, /** @type {string[]} */ values, /** @type {string} */ chosen, /** @type {(one: string) => string} */ said) =>
    values.length > 1 && html`<fieldset class="switch"><legend>${label}</legend>${values.map((value) => html`<button aria-pressed=${String(value === chosen)} onClick=${() => state.set({ [name]: value, layers: "", heads: "" })}>${said(value)}</button>`)}</fieldset>`;
  return html`<div class="switches">${choice("reads", "branch", branches, selection.branch, (one) => names[one] ?? visible(one))}
    ${choice("picture", "sample", Array.from({ length: samples }, (_, at) => String(at)), String(selection.sample), (one) => String(Number(one) + 1))}
    ${choice("network", "tower", trace.nets.map((/** @type {any} */ net) => net.name), selection.net.name, visible)}</div>`;
}

/** @param {any} props */
function Looks({ state, alpha, threshold, smooth, hasSketch, files }) {
  const slide = (/** @type {string} */ label, /** @type {string} */ name, /** @type {number} */ value) =>
    html`<label>${label} <input type="range" min="0" max="1" step="0.05" value=${value} onInput=${(/** @type {any} */ event) => state.set({ [name]: event.target.value })} /></label>`;
  return html`<div class="looks">${slide("map over picture", "alpha", alpha)}${slide("hide below", "threshold", threshold)}
    <label><input type="checkbox" checked=${!smooth} onChange=${(/** @type {any} */ event) => state.set({ cells: event.target.checked ? "yes" : "" })} /> show cells</label>
    ${hasSketch && html`<label><input type="checkbox" checked=${Boolean(state.get("sketch"))} onChange=${(/** @type {any} */ event) => state.set({ sketch: event.target.checked ? "yes" : "" })} /> drawing</label>`}
    <span class="save">save ${Object.entries(files).map(([name, make]) => html`<button onClick=${make}>${name}</button>`)}</span></div>`;
}

/** What is pinned, and how to free it. @param {any} props */
function Chips({ pins, place, name, onPin, onFree, mode, onMode }) {
  if (!pins.length && !place) return null;
  return html`<div class="chips"><span class="faint">pinned</span>${place && html`<button class="chip" onClick=${onFree}>${place} <span aria-hidden="true">×</span><span class="unseen">free</span></button>`}
    ${pins.map((/** @type {string} */ id) => html`<button key=${id} class="chip" onClick=${() => onPin(id)}><bdi>${name(id)}</bdi> <span aria-hidden="true">×</span><span class="unseen">unpin</span></button>`)}
    ${pins.length > 1 && html`<button aria-pressed=${String(mode === "strongest")} onClick=${() => onMode(mode === "strongest" ? "" : "strongest")}>colour by strongest</button>`}</div>`;
}

/** @param {any[]} groups @param {string} id @param {string[]} segments */
function nameOf(groups, id, segments) {
  return labelOf(groups.find((one) => one.id === id), segments);
}

/** The word whose map says most: the highest peak against its mean. @param {import("./trace.js").Group[]} groups @param {import("./sums.js").MapSums | null} sums */
function telling(groups, sums) {
  const words = groups.filter((group) => group.kind === "word" && group.columns.length);
  const long = words.filter((group) => [...group.text].length > 3);
  const candidates = (long.length ? long : words).slice(0, 64);
  if (!sums || !candidates.length) return candidates[0] ?? groups.find((group) => group.columns.length);
  const peaks = candidates.map((group) => largest(relative(sums.map(group.columns))));
  return candidates[peaks.indexOf(Math.max(...peaks))];
}

/** A map against its own mean. @param {Float64Array} map */
function relative(map) {
  const mean = map.reduce((sum, value) => sum + value, 0) / map.length || 1;
  return map.map((value) => value / mean);
}

/** Amounts per column of the whole picture where only masses were kept. @param {import("./masses.js").Masses} masses @param {import("./trace.js").Selection} selection */
function massColumns(masses, { layers, steps }) {
  const amounts = new Float64Array(Math.max(...masses.groups.flatMap((group) => group.columns), 0) + 1);
  const chosen = masses.net.layers.filter((layer) => !layers || layers.includes(layer.index));
  masses.groups.forEach(({ columns }, at) => {
    if (!columns.length) return;
    const values = chosen.map((layer) => masses.mean(layer.index, null, masses.massOf(at), steps)).filter((value) => !Number.isNaN(value));
    amounts[columns[0]] = values.reduce((sum, value) => sum + value, 0) / (values.length || 1);
  });
  return amounts;
}

/** @param {import("./masses.js").Masses} masses @param {import("./trace.js").Group | undefined} current @param {import("./trace.js").Group[]} groups @param {string[]} segments */
function measuresOf(masses, current, groups, segments) {
  const own = [...(masses.steps.values().next().value?.values() ?? [])];
  const measures = current ? [{ name: "mass", label: `attention to ${labelOf(current, segments)}`, value: masses.massOf(groups.findIndex((one) => one.id === current.id)), format: percent }] : [];
  const all = (/** @type {string} */ segment) => groups.flatMap((group, at) => (group.segment === segment && (group.columns.length || masses.groups.every((one) => one.segment !== segment || !one.columns.length)) ? [masses.massOf(at)] : []));
  const sumOf = (/** @type {string} */ segment) => (/** @type {any} */ one, /** @type {number} */ head) => all(segment).reduce((sum, value) => sum + value(one, head), 0);
  if (segments.length > 1) measures.push(...segments.map((segment) => ({ name: segment, label: `attention to all of ${visible(segment)}`, value: sumOf(segment), format: percent })));
  const number = (/** @type {number} */ value) => (Number.isNaN(value) ? "–" : value.toFixed(2));
  if (own.some((one) => one.entropy)) measures.push({ name: "entropy", label: "entropy of rows, nats", value: (one, head) => one.entropy?.[head] ?? NaN, format: number });
  for (const part of new Set(own.flatMap((one) => Object.keys(one.gates)))) measures.push({ name: `gate.${part}`, label: `gate of ${visible(part)}`, value: (one, head) => one.gates[part]?.[head] ?? NaN, format: number });
  return measures;
}

/** What the live caption says. @param {import("./readings.js").Reading[]} readings @param {string[]} segments @param {import("./readings.js").Order} order @param {string} place */
function saidOf(readings, segments, order, place) {
  const first = ranked(readings, order).slice(0, 3);
  return `${place}: ${first.map((one) => `${labelOf(one.group, segments)} ${order === "lift" ? `${one.lift.toFixed(2)} ×` : percent(one[order])}`).join(", ")}`;
}

/** @param {Trace} trace @param {import("./state.js").State} state @param {import("./trace.js").Selection} selection @param {() => void} free @returns {import("./keys.js").Shortcut[]} */
function shortcutsOf(trace, state, selection, free) {
  const turn = (/** @type {string} */ name, /** @type {number[]} */ all, /** @type {number[] | null} */ chosen, /** @type {number} */ by) => () => {
    const at = chosen ? all.indexOf(chosen[0]) : by > 0 ? -1 : all.length;
    if (all[at + by] !== undefined) state.set({ [name]: String(all[at + by]) });
  };
  const steps = trace.hasStepMaps ? trace.steps.map((step) => step.index) : [];
  const layers = selection.net.layers.map((layer) => layer.index);
  return [
    { keys: "[", does: "the step before", run: turn("steps", steps, selection.steps, -1) },
    { keys: "]", does: "the next step", run: turn("steps", steps, selection.steps, 1) },
    { keys: "m", does: "the mean of all steps and layers", run: () => state.set({ steps: "", layers: "", heads: "" }) },
    { keys: ",", does: "the layer before", run: turn("layers", layers, selection.layers, -1) },
    { keys: ".", does: "the next layer", run: turn("layers", layers, selection.layers, 1) },
    { keys: "/", does: "find a word", run: () => document.getElementById("find-word")?.focus() },
    { keys: "Escape", does: "free what is pinned", run: free },
    { keys: "?", does: "this list" },
  ];
}

/** State that is shown at most once in a frame; last, what it will be then. @template T @param {T} first @returns {[T, (value: T) => void, () => T]} */
function useFrame(first) {
  const [value, set] = useState(first);
  const next = useRef({ value: first, isDue: false });
  return [value, (wanted) => {
    next.current.value = wanted;
    if (next.current.isDue) return;
    next.current.isDue = true;
    requestAnimationFrame(() => { next.current.isDue = false; set(() => next.current.value); });
  }, () => next.current.value];
}
