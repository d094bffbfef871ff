import { percent } from "../draw/colours.js";
import { visible } from "../safe.js";
import { html } from "../vendor/preact.js";

/** @typedef {import("../parts/readings.js").Reading} Reading */

/**
 * The prompt itself, a row for each encoder; each word is inked by what it gets at the place.
 *
 * @param {object} props
 * @param {any} props.branch       facts of the branch
 * @param {string[]} props.segments
 * @param {Reading[]} props.readings
 * @param {import("../data/trace.js").Group[]} props.groups
 * @param {string} props.current   id of the group that is shown
 * @param {string[]} props.pins
 * @param {(id: string) => void} props.onPin
 * @param {(id: string | null) => void} props.onHover
 * @param {(group: import("../data/trace.js").Group) => string} props.sink  what is said of a sink
 */
export function Prompt(props) {
  const { branch, segments } = props;
  return html`<section class="prompt" aria-label="Prompt">${segments.map((segment) => html`<${Row} ...${props} segment=${segment} />`)}
    ${!branch.text && html`<p class="faint">The text is empty.</p>`}<${Folded} ...${props} /></section>`;
}

/** @param {any} props */
function Row({ branch, segment, segments, readings, current, pins, onPin, onHover }) {
  const own = readings.filter((/** @type {Reading} */ one) => one.group.segment === segment);
  const words = new Map(
    own
      .filter((/** @type {Reading} */ one) => one.group.kind === "word")
      .map((/** @type {Reading} */ one) => [one.group.word, one]),
  );
  if (!words.size) return null;
  const most = Math.max(
    ...readings
      .filter((/** @type {Reading} */ one) => one.group.kind === "word")
      .map((/** @type {Reading} */ one) => one.attention),
    1e-12,
  );
  const total = own.reduce((/** @type {number} */ sum, /** @type {Reading} */ one) => sum + one.attention, 0);
  const pieces = [];
  let at = 0;
  const characters = [...branch.text]; // offsets count characters, not UTF-16 units
  for (const word of branch.words) {
    pieces.push(visible(characters.slice(at, word.start).join("")));
    const text = visible(characters.slice(word.start, word.stop).join(""));
    const reading = words.get(word.index);
    at = word.stop;
    pieces.push(
      reading
        ? html`<${Word} text=${text} reading=${reading} part=${reading.attention / most} isCurrent=${current === reading.group.id} isPinned=${pins.includes(reading.group.id)} onPin=${onPin} onHover=${onHover} />`
        : html`<span class="lost" title=${`${segment} does not read this word`}>${text}</span>`,
    );
  }
  pieces.push(visible(characters.slice(at).join("")));
  return html`<p class="row">${segments.length > 1 && html`<span class="segment">${visible(segment)} <span class="faint">${percent(total)}</span></span>`}<bdi>${pieces}</bdi></p>`;
}

/** A word that can be hovered and pinned. @param {any} props */
export function Word({ text, reading, part, isCurrent, isPinned, onPin, onHover }) {
  const { id } = reading.group;
  return html`<button class=${`word ${isCurrent ? "current" : ""}`} aria-pressed=${String(isPinned)} style=${`--part:${Math.max(0, Math.min(1, part || 0)).toFixed(3)}`} title=${`${percent(reading.attention)} – click to pin`}
    onClick=${() => onPin(id)} onMouseEnter=${() => onHover(id)} onMouseLeave=${() => onHover(null)} onFocus=${() => onHover(id)} onBlur=${() => onHover(null)}><bdi>${text}</bdi></button>`;
}

/** Special tokens, padding and the rest. @param {any} props */
function Folded({ groups, readings, segments, sink }) {
  const others = readings.filter((/** @type {Reading} */ one) => !["word", "token"].includes(one.group.kind));
  const total = others.reduce((/** @type {number} */ sum, /** @type {Reading} */ one) => sum + one.attention, 0);
  const inside = groups.filter((/** @type {any} */ one) => !one.columns.length);
  if (!others.length) return null;
  const name = (/** @type {any} */ group) =>
    `${segments.length > 1 ? `${visible(group.segment)}: ` : ""}${visible(group.text)}`;
  return html`<details class="folded"><summary>Special tokens and padding get ${percent(total)} here</summary>
    <ul>${others.map((/** @type {Reading} */ one) => html`<li><bdi>${name(one.group)}</bdi> ${percent(one.attention)} <span class="faint">${sink(one.group)}</span></li>`)}
    ${inside.length > 0 && html`<li class="faint">In <em>rest</em>, together: ${inside.map((/** @type {any} */ group, /** @type {number} */ at) => html`${at ? ", " : ""}<bdi>${name(group)}</bdi>${sink(group)}`)}</li>`}</ul></details>`;
}
