import { INFERNO, percent } from "../draw/colours.js";
import { Save } from "../draw/saving.js";
import { ARROWS, clamped, pointedCell } from "../parts/pointing.js";
import { Swatch } from "../parts/scales.js";
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../vendor/preact.js";
import { shortened, shownText } from "./text-pane.js";

/**
 * How a text was written: which step decided each position, and how sure it was.
 *
 * @param {object} props
 * @param {import("../data/texts.js").TextTrace} props.trace
 * @param {import("../data/texts.js").Written} props.written
 * @param {number} props.loaded   steps that were read
 * @param {number} props.cell     place of branch and sample
 * @param {(position: number) => string} props.word  what stands there in the end
 * @param {number[] | null} props.steps  that are shown
 * @param {(step: number, position: number) => void} props.onChoose
 * @param {string} props.name     of files
 * @param {string} props.about    how the trace was made
 */
export function Unmasking({ trace, written, loaded, cell, word, steps, onChoose, name, about }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  const [pointed, point] = useState(/** @type {{at: number, column: number} | null} */ (null));
  const [width, setWidth] = useState(1000);
  useLayoutEffect(() => {
    const look = () => setWidth(Math.max(320, document.getElementById("screen")?.clientWidth ?? 1000) - 40);
    look();
    window.addEventListener("resize", look);
    return () => window.removeEventListener("resize", look);
  }, []);
  const grid = useMemo(() => gridOf(trace, written, cell), [trace, loaded, cell]);
  useEffect(() => {
    if (canvas.current && grid) draw(canvas.current, grid);
  }, [grid]);
  if (!grid) return null;
  const { positions, moments } = grid;
  const at = (/** @type {MouseEvent} */ event) => {
    const [row, column] = pointedCell(event, [moments.length, positions.length]);
    return { at: row, column };
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const move = ARROWS[event.key];
    const now = pointed ?? { at: 0, column: 0 };
    if (move)
      point(
        pointed
          ? { at: clamped(now.at + move[0], moments.length), column: clamped(now.column + move[1], positions.length) }
          : now,
      );
    else if (event.key === "Enter") onChoose(moments[now.at].step, positions[now.column]);
    else return;
    event.preventDefault();
  };
  const said = pointed
    ? sayMoment(moments[pointed.at], positions[pointed.column], word(positions[pointed.column]))
    : steps?.length === 1
      ? sayStep(
          moments.find((one) => one.step === steps[0]),
          word,
        )
      : `${positions.length} positions in ${moments.length} steps. Steps go down, positions to the right; a click shows that step.`;
  const high = Math.max(4, Math.min(22, Math.floor(320 / moments.length)));
  const wide = (width - STEPS_WIDE) / positions.length;
  const table = () => ({
    head: ["step", "position", "token", "confidence"],
    rows: moments.flatMap(({ step, moment }) =>
      positions
        .filter((position) => moment.finalised[position])
        .map((position) => [step, position, word(position), moment.confidence[position]]),
    ),
  });
  const shown = steps?.length === 1 ? moments.findIndex((one) => one.step === steps[0]) : -1;
  return html`<section class="unmasking" aria-label="How the text was written"><h2>How the text was written</h2>
    <p class="faint" aria-live="polite">${said}</p>
    <div id="unmasking"><div class="writing" style=${`padding-top:${wide >= READABLE ? TOKENS_HIGH : 18}px`}><${WritingAxes} moments=${moments} positions=${positions} word=${word} high=${high} wide=${wide} width=${width} />
    <div class="strip" tabindex="0" role="application" aria-label="Steps and positions. Arrow keys move, Enter shows the step." style=${`height:${high * moments.length}px`} onKeyDown=${onKey}
      onMouseMove=${(/** @type {MouseEvent} */ event) => point(at(event))} onMouseLeave=${() => point(null)} onClick=${(/** @type {MouseEvent} */ event) => onChoose(moments[at(event).at].step, positions[at(event).column])}>
      <canvas ref=${canvas} aria-hidden="true"></canvas>
      ${shown >= 0 && html`<div class="cursor pinned" style=${`left:0;width:100%;top:${(100 * shown) / moments.length}%;height:${100 / moments.length}%`}></div>`}
      ${pointed && html`<div class="cursor" style=${`left:${(100 * pointed.column) / positions.length}%;width:${100 / positions.length}%;top:${(100 * pointed.at) / moments.length}%;height:${100 / moments.length}%`}></div>`}</div></div>
    <p class="scale legend">${LEGEND.map(([colour, said]) => html`<${Swatch} key=${colour} colour=${colour}>${said}<//>`)}</p></div>
    <${Save} figure="unmasking" name=${`${name}-unmasking`} title=${["How the text was written", about]} caption="Steps downwards, positions to the right: when each was decided, and how sure." tables=${{ CSV: table }} /></section>`;
}

/** Colours of the strip. */
const LEGEND = [
  ["#8f8f99", "masked"],
  ["rgb(120 28 109)", "decided now, unsure"],
  ["rgb(251 155 6)", "decided now, sure"],
  ["#d7e3f4", "decided before"],
];
const STEPS_WIDE = 60; // pixels left of the strip
const TOKENS_HIGH = 96;
const READABLE = 12; // pixels of a position from which on its token is written

/** @param {{moments: any[], positions: number[], word: (position: number) => string, high: number, wide: number, width: number}} props */
function WritingAxes({ moments, positions, word, high, wide, width }) {
  const isNamed = wide >= READABLE;
  const top = isNamed ? TOKENS_HIGH : 18;
  const every = Math.ceil(14 / high);
  return html`<svg class="axes" width=${width} height=${top + high * moments.length} aria-hidden="true">
    ${isNamed ? positions.map((position, at) => html`<text transform=${`translate(${STEPS_WIDE + (at + 0.5) * wide} ${top - 4}) rotate(-90)`} font-size="12" dominant-baseline="central">${shortened(shownText(word(position)))}</text>`) : html`<text x=${STEPS_WIDE} y="12" font-size="12">positions ${positions[0]} to ${positions.at(-1)}</text>`}
    ${moments.map(({ step }, at) => at % every === 0 && html`<text x=${STEPS_WIDE - 6} y=${top + (at + 0.5) * high} font-size="11" text-anchor="end" dominant-baseline="central">step ${step}</text>`)}</svg>`;
}

/** @param {import("../data/texts.js").TextTrace} trace @param {import("../data/texts.js").Written} written @param {number} cell */
function gridOf(trace, written, cell) {
  const moments = trace.steps
    .map(({ index }) => ({
      step: index,
      moment: /** @type {import("../data/texts.js").Moment} */ (written.moment(index, cell)),
    }))
    .filter(({ moment }) => moment);
  if (!moments.length) return null;
  const length = moments[0].moment.masked.length;
  const positions = Array.from({ length }, (_, at) => at).filter((at) =>
    moments.some(({ moment }) => moment.masked[at]),
  );
  return positions.length ? { positions, moments } : null;
}

const MASKED = [143, 143, 153];
const BEFORE = [215, 227, 244];

/** @param {HTMLCanvasElement} canvas @param {{positions: number[], moments: any[]}} grid */
function draw(canvas, { positions, moments }) {
  canvas.width = positions.length;
  canvas.height = moments.length;
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const image = context.createImageData(canvas.width, canvas.height);
  for (const [row, { moment }] of moments.entries())
    for (const [column, position] of positions.entries()) {
      const level = 3 * Math.round(90 + 130 * Math.max(0, Math.min(1, moment.confidence[position] || 0)));
      const now = [INFERNO[level], INFERNO[level + 1], INFERNO[level + 2]];
      const colour = moment.finalised[position] ? now : moment.masked[position] ? MASKED : BEFORE;
      image.data.set([...colour, 255], 4 * (row * positions.length + column));
    }
  context.putImageData(image, 0, 0);
}

/** @param {{step: number, moment: import("../data/texts.js").Moment}} one @param {number} position @param {string} word */
function sayMoment({ step, moment }, position, word) {
  const what = moment.finalised[position]
    ? `decided with confidence ${percent(moment.confidence[position])}`
    : moment.masked[position]
      ? "masked"
      : "decided before";
  return `step ${step}, position ${position} (in the end “${shownText(word)}”): ${what}`;
}

/** @param {{step: number, moment: import("../data/texts.js").Moment} | undefined} one @param {(position: number) => string} word */
function sayStep(one, word) {
  if (!one) return "This step is not here.";
  const { moment, step } = one;
  const decided = [...moment.finalised.keys()].filter((at) => moment.finalised[at]);
  const left = moment.masked.reduce((sum, value) => sum + value, 0) - decided.length;
  const listed = decided
    .slice(0, 6)
    .map((at) => `“${shownText(word(at))}” at ${at} (${percent(moment.confidence[at])})`);
  const more = decided.length > 6 ? `, and ${decided.length - 6} more` : "";
  return decided.length
    ? `Step ${step} decides ${listed.join(", ")}${more}; ${left} stay masked.`
    : `Step ${step} decides nothing.`;
}
