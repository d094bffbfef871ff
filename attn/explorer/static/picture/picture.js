import { sinkLayers } from "../data/masses.js";
import { readSelection } from "../data/trace.js";
import { PINNED, percent } from "../draw/colours.js";
import { largest, paintMap, paintStrongest } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { useFrame } from "../frame.js";
import { Keys } from "../keys.js";
import { About } from "../parts/about.js";
import { Cells } from "../parts/cells.js";
import { Chips, Looks, nameOf, Switches, shortcutsOf } from "../parts/controls.js";
import { useMasses, useSums, useTrace } from "../parts/loading.js";
import { labelOf, ORDERS, readingsOf } from "../parts/readings.js";
import { Scale, Swatch } from "../parts/scales.js";
import { Steps } from "../parts/steps.js";
import { requestOf, selectionOf } from "../parts/titles.js";
import { visible } from "../safe.js";
import { readIds } from "../state.js";
import { Work } from "../sums/work.js";
import { html, render, useEffect, useMemo, useState } from "../vendor/preact.js";
import { Balance, wholeSegments } from "./balance.js";
import { Frames } from "./frames.js";
import { PlaceLooks } from "./place-looks.js";
import { Prompt } from "./prompt.js";
import { describeRegion, readRegion, regionText, Stage, Thumb } from "./stage.js";
import { massColumns, measuresOf, relative, saidOf, telling } from "./telling.js";
import { useVideoFrame, VideoFrames } from "./video.js";
import { Words } from "./words.js";

/**
 * Screen A: a picture, and what its places read.
 * @param {HTMLElement} root
 * @param {import("../screens.js").Item} item
 * @param {import("../state.js").State} state
 */
export async function showPicture(root, item, state) {
  const work = new Work(item.source);
  render(html`<${Screen} item=${item} state=${state} work=${work} />`, root);
  return () => {
    work.close();
    render(null, root);
  };
}

/** @param {{item: import("../screens.js").Item, state: import("../state.js").State, work: Work}} props */
function Screen({ item, state, work }) {
  const [trace, lost] = useTrace(item);
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  const [hovered, hoverPlace, lastHovered] = useFrame(/** @type {import("../sums/sums.js").Region | null} */ (null));
  const [word, hoverWord] = useFrame(/** @type {string | null} */ (null));

  const selection = readSelection(trace, state);
  const others = [
    selection.branch,
    selection.sample,
    selection.net.name,
    selection.layers,
    selection.heads,
    selection.frame,
  ].join("/");
  const key = `${others}/${selection.steps}`;
  const loaded = useSums(trace, work, selection, key, state.choice("read", ["all"]) === "all");
  const isFirst = trace.hasMaps && loaded.key === "";
  const { masses, loaded: massSteps, error } = useMasses(item.source, trace, selection, undefined, isFirst);
  const groups = useMemo(
    () => trace.groups(selection.net.keyset, selection.branch),
    [selection.net.keyset, selection.branch],
  );
  const branch = trace.branch(selection.branch);
  const segments = trace.facts.keysets[selection.net.keyset].segments;
  const wholes = useMemo(() => wholeSegments(groups, segments), [groups, segments]);
  const shown = [...groups, ...wholes];
  const { sums } = loaded;
  const grid = sums?.grid ?? selection.net.layers[0].grid;

  const pinned = sums ? state.read("place", (text) => readRegion(text, grid)) : readRegion(state.get("place"), grid);
  const placeOf = (/** @type {import("../sums/sums.js").Region | null} */ own) =>
    readRegion(state.get("place"), grid) ?? (own && readRegion(regionText(own), grid));
  const region = placeOf(hovered);
  const whole = useMemo(() => sums?.whole() ?? massColumns(masses, selection), [sums, massSteps, key]);
  const readings = useMemo(
    () => readingsOf(groups, region && sums ? sums.amounts(region) : whole, whole),
    [groups, sums, whole, regionText(region)],
  );
  const pins = readIds(state, "pins", (id) => shown.some((group) => group.id === id && group.columns.length));
  const fallback = useMemo(() => telling(groups, sums), [groups, sums]);
  const current =
    shown.find((one) => one.id === word && one.columns.length) ??
    shown.find((one) => one.id === pins.at(-1)) ??
    fallback;
  const map = useMemo(() => (sums && current ? sums.map(current.columns) : null), [sums, current?.id]);
  const top = map ? largest(map) : 0;

  const mode = state.choice("mode", ["strongest"], "map") === "strongest" && pins.length > 1 ? "strongest" : "map";
  const alpha = state.part("alpha", 0.75);
  const threshold = state.part("threshold", 0);
  const smooth = state.choice("cells", ["yes"]) !== "yes";
  const maps = useMemo(
    () => (sums ? pins.map((id) => sums.map(shown.find((one) => one.id === id)?.columns ?? [])) : []),
    [sums, pins.join(" ")],
  );
  const paint = (/** @type {HTMLCanvasElement} */ canvas) => {
    if (!map) canvas.getContext("2d")?.clearRect(0, 0, canvas.width, canvas.height);
    else if (mode === "strongest") paintStrongest(canvas, maps.map(relative), grid, PINNED, alpha);
    else paintMap(canvas, map, grid, { top, threshold, alpha });
  };

  const pin = (/** @type {string} */ id) =>
    state.set({ pins: pins.includes(id) ? pins.filter((one) => one !== id).join(" ") : [...pins, id].join(" ") });
  const order = /** @type {import("../parts/readings.js").Order} */ (
    state.choice("sort", Object.keys(ORDERS), "attention")
  );
  const place = region ? describeRegion(region, grid) : "whole image";
  const say = saidOf(readings, segments, region ? order : "attention", place);
  const name = current ? labelOf(current, segments) : "";
  const { video } = trace.facts;
  const addressOf = (/** @type {string | undefined} */ name) => (name ? item.source.url(name) : null);
  const picture = useVideoFrame(
    addressOf(video?.files[selection.sample]),
    selection.frame === null ? null : middleOf(video.spans[selection.frame]),
    addressOf(trace.facts.pictures[selection.sample]),
  );
  const sketch = state.choice("sketch", trace.facts.sketch ? ["yes"] : []) ? item.source.url(trace.facts.sketch) : null;
  const sink = (/** @type {import("../data/trace.js").Group} */ group) => {
    const count = sinkLayers(masses, groups.indexOf(group));
    return count ? ` (a sink in ${count} of ${selection.net.layers.length} layers)` : "";
  };
  const title = [
    mode === "strongest" ? "Where each word is most above its mean" : map ? `Attention to “${name}”` : "Image",
    requestOf(trace),
    selectionOf(trace, selection),
  ];
  const measures = measuresOf(masses, current, groups, segments);
  const cells = useMemo(
    () =>
      masses.steps.size > 0 &&
      html`<${Cells} masses=${masses} loaded=${massSteps} measures=${measures} selection=${selection} hasHeads=${trace.hasHeads} name=${item.label} about=${title.slice(1)}
    onChoose=${(/** @type {string} */ layers, /** @type {string} */ heads) => state.set({ layers, heads })} />`,
    [masses, massSteps, current?.id, key],
  );
  const frames = useMemo(
    () =>
      current &&
      trace.hasStepMaps &&
      html`<${Frames} trace=${trace} work=${work} selection=${selection} selectionKey=${others} group=${current} picture=${picture} word=${name} name=${`${item.label}-${name}-steps`} title=${[`Attention to “${name}”, step by step`, requestOf(trace), selectionOf(trace, { ...selection, steps: undefined })]} onChoose=${(/** @type {string} */ text) => state.set({ steps: text })} />`,
    [trace, current?.id, key, picture],
  );
  const table = () => ({
    head: ["word", "segment", "place", "attention", "share", "lift"],
    rows: readings.map((one) => [one.group.text, one.group.segment, place, one.attention, one.share, one.lift]),
  });
  return html`<${Keys} shortcuts=${shortcutsOf(trace, state, selection, () => state.set({ place: "", pins: "" }))} />
  <h1 class="unseen">Attention of <bdi>${visible(item.label)}</bdi></h1>
  <${About} trace=${trace} source=${item.source} branch=${branch} lost=${lost} error=${loaded.error || error} />
  <${Switches} trace=${trace} state=${state} selection=${selection} />
  <${Prompt} branch=${branch} segments=${segments} readings=${readings} groups=${groups} current=${current?.id} pins=${pins} onPin=${pin} onHover=${hoverWord} sink=${sink} />
  <div class="columns"><div class="left">
    <${Stage} picture=${picture} absence=${trace.manifest.status === "partial" ? "The finished image is made after the last step." : "no image"} sketch=${sketch} label=${name} paint=${paint} painted=${[map, maps, top, threshold, alpha, mode]} grid=${grid} region=${region} last=${() => placeOf(lastHovered())} isPinned=${Boolean(pinned)} smooth=${smooth} fade=${map ? Math.min(1, alpha * 1.2) : 0} say=${say}
      onHover=${(/** @type {any} */ at) => hoverPlace(at)} onPin=${(/** @type {any} */ at) => state.set({ place: regionText(at) })}>${mode === "strongest" ? html`<p class="scale">${pins.map((id, at) => html`<${Swatch} key=${id} colour=${PINNED[at % PINNED.length]}>${nameOf(shown, id, segments)}<//>`)} <span class="faint">where each is most above its mean</span></p>` : map && html`<${Scale} top=${percent(top)}>attention to <strong><bdi>${name}</bdi></strong><//>`}<//>
    <${Balance} wholes=${wholes} amounts=${region && sums ? sums.amounts(region) : whole} current=${current?.id} pins=${pins} onPin=${pin} onHover=${hoverWord} />
    <p class="status" aria-live="polite">${loaded.note}${loaded.ask > 0 && html` <button onClick=${() => state.set({ read: "all" })}>Read all (${(loaded.ask / 1e9).toFixed(2)} GB)</button>`}</p>
    ${(loaded.error || error) && html`<p class="error" role="alert">${visible(loaded.error || error)}</p>`}
    <${Steps} steps=${trace.singleSteps} total=${trace.count} averaged=${trace.meanCount} chosen=${selection.steps} onChoose=${(/** @type {string} */ text) => state.set({ steps: text })} />
    ${video && html`<${VideoFrames} spans=${video.spans} chosen=${selection.frame} onChoose=${(/** @type {string} */ text) => state.set({ frame: text })} />`}
    <${Looks} state=${state} alpha=${alpha} threshold=${threshold} smooth=${smooth} hasSketch=${Boolean(trace.facts.sketch)}><${Save} figure="picture-figure" name=${`${item.label}-${name}`} title=${title} caption=${region ? say : ""} tables=${{ CSV: table }} /><//>
    <${PlaceLooks} trace=${trace} work=${work} selection=${selection} selectionKey=${key} region=${pinned} grid=${grid} picture=${picture} name=${item.label} about=${requestOf(trace)} />
  </div><div class="right">
    <${Chips} pins=${pins} place=${pinned && place} name=${(/** @type {string} */ id) => nameOf(shown, id, segments)} onPin=${pin} onFree=${() => state.set({ place: "" })} mode=${mode} onMode=${(/** @type {string} */ text) => state.set({ mode: text })} />
    ${pins.length > 1 && html`<div id="pinned-words" class="thumbs">${pins.map((id, at) => html`<${Thumb} key=${id} picture=${picture} values=${maps[at] ?? null} grid=${grid} top=${maps[at] ? largest(maps[at]) : 0} alpha=${alpha} label=${html`<bdi>${nameOf(shown, id, segments)}</bdi> <span class="faint">to ${percent(maps[at] ? largest(maps[at]) : 0)}</span>`} isCurrent=${current?.id === id} onChoose=${() => state.set({ pins: [...pins.filter((one) => one !== id), id].join(" ") })} />`)}</div><${Save} figure="pinned-words" name=${`${item.label}-words`} title=${["Attention to several words", ...title.slice(1)]} caption="Each map has a scale of its own, from 0." tables=${{}} />`}
    <${Words} readings=${readings} order=${order} onOrder=${(/** @type {string} */ text) => state.set({ sort: text })} segments=${segments} title=${region ? `At ${place}` : "In the whole image"} isPlace=${Boolean(region)} current=${current?.id} pins=${pins} onPin=${pin} onHover=${hoverWord} />
  </div></div>
  ${frames}${cells}`;
}

/** The frame in the middle of several. @param {[number, number]} span first and last */
const middleOf = ([first, last]) => (first + last + 1) >> 1;
