import { html, useEffect, useState } from "../vendor/preact.js";

const PACE = 450; // milliseconds of each step while playing

/**
 * Which steps are shown: one, or the mean over all.
 *
 * @param {object} props
 * @param {import("../data/trace.js").StepShard[]} props.steps
 * @param {number} props.total     that were captured
 * @param {number} props.averaged  that the mean is of
 * @param {number[] | null} props.chosen
 * @param {(text: string) => void} props.onChoose
 */
export function Steps({ steps, total, averaged, chosen, onChoose }) {
  const [isPlaying, play] = useState(false);
  const at = chosen?.length === 1 ? steps.findIndex((step) => step.index === chosen[0]) : -1;
  useEffect(() => {
    if (!isPlaying) return;
    const timer = setTimeout(() => {
      const next = at + 1;
      if (next < steps.length) onChoose(String(steps[next].index));
      else play(false);
    }, PACE);
    return () => clearTimeout(timer);
  }, [isPlaying, at]);
  if (!steps.length) return null;
  const step = steps[at];
  const noise = (/** @type {number | null | undefined} */ value) =>
    value === null || value === undefined ? "" : `, ${(100 * value).toFixed(0)} % noise left`;
  const said = step
    ? `step ${step.index}${noise(step.noise)}`
    : chosen
      ? `mean of ${chosen.length} of ${total} steps`
      : steps.length === 1
        ? "the only step"
        : `mean of ${averaged === total ? `all ${total}` : `${averaged} of ${total}`} steps`;
  return html`<div class="steps"><button aria-pressed=${String(!chosen)} onClick=${() => {
    play(false);
    onChoose("");
  }}>all steps</button>
    <button onClick=${() => play(!isPlaying)}>${isPlaying ? "pause" : "play"}</button>
    <label><span class="unseen">step</span><input id="step" type="range" min="0" max=${steps.length - 1} value=${Math.max(0, at)} class=${at < 0 ? "off" : ""} aria-valuetext=${said}
      onInput=${(/** @type {any} */ event) => {
        play(false);
        onChoose(String(steps[Number(event.target.value)].index));
      }} /></label>
    <output>${said}</output></div>`;
}
