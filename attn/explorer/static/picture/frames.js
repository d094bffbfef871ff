import { percent } from "../draw/colours.js";
import { largest } from "../draw/paint.js";
import { Save } from "../draw/saving.js";
import { Scale } from "../parts/scales.js";
import { visible } from "../safe.js";
import { html, useEffect, useRef, useState } from "../vendor/preact.js";
import { Thumb } from "./stage.js";

const MOST = 12;
const LARGE = 256e6;

/**
 * The maps of one word, step by step; read when it is opened.
 *
 * @param {object} props
 * @param {import("../data/trace.js").Trace} props.trace
 * @param {import("../sums/work.js").Work} props.work
 * @param {import("../data/trace.js").Selection} props.selection
 * @param {string} props.selectionKey  the same for the same selection, steps aside
 * @param {import("../data/trace.js").Group} props.group
 * @param {string | null} props.picture
 * @param {string} props.word     that the maps are of
 * @param {string} props.name     of files
 * @param {string[]} props.title  of the figure
 * @param {(text: string) => void} props.onChoose
 */
export function Frames({ trace, work, selection, selectionKey, group, picture, word, name, title, onChoose }) {
  const [isOpen, open] = useState(false);
  const [error, setError] = useState("");
  const [, redraw] = useState(0);
  const held = useRef(
    /** @type {{key: string, sums: Map<number, import("../sums/sums.js").MapSums>}} */ ({ key: "", sums: new Map() }),
  );
  const shown = evenly(trace.steps, MOST);
  useEffect(() => {
    if (!isOpen) return;
    const stop = new AbortController();
    if (held.current.key !== selectionKey) held.current = { key: selectionKey, sums: new Map() };
    const { sums } = held.current;
    setError("");
    (async () => {
      for (const step of shown) {
        if (stop.signal.aborted) return;
        if (!sums.has(step.index))
          sums.set(
            step.index,
            await work.run(trace.job({ ...selection, steps: [step.index] }, work.source.base), stop.signal, () => {}),
          );
        redraw((n) => n + 1);
      }
    })().catch((/** @type {Error} */ reason) => !stop.signal.aborted && setError(reason.message));
    return () => stop.abort();
  }, [isOpen, selectionKey]);
  if (trace.steps.length < 2) return null;
  const bytes = shown.reduce((sum, step) => sum + step.bytes, 0);
  const maps = new Map(
    [...held.current.sums]
      .filter(([, sums]) => sums.count)
      .map(([step, sums]) => [step, { values: sums.map(group.columns), grid: sums.grid }]),
  );
  const top = Math.max(...[...maps.values()].map((map) => largest(map.values)), 0);
  const ask = bytes > LARGE ? ` (reads ${(bytes / 1e6).toFixed(0)} MB)` : "";
  return html`<details class="frames" onToggle=${(/** @type {any} */ event) => open(event.target.open)}><summary>Step by step${ask}</summary>
    ${
      isOpen &&
      html`${error && html`<p class="error" role="alert">${visible(error)}</p>`}<p class="faint">One scale for all. Choose one to see it above.</p><div id="frames"><div class="thumbs">${shown.map(
        (step) => {
          const map = maps.get(step.index);
          return html`<${Thumb} key=${step.index} picture=${picture} values=${map?.values ?? null} grid=${map?.grid ?? [1, 1]} top=${top} alpha=${0.75} isCurrent=${selection.steps?.length === 1 && selection.steps[0] === step.index}
        label=${`step ${step.index}`} onChoose=${() => onChoose(String(step.index))} />`;
        },
      )}</div><${Scale} top=${percent(top)}>attention to <strong><bdi>${word}</bdi></strong><//></div><${Save} figure="frames" name=${name} title=${title} tables=${{}} />`
    }</details>`;
}

/** @template T @param {T[]} all @param {number} most */
function evenly(all, most) {
  if (all.length <= most) return all;
  return Array.from({ length: most }, (_, at) => all[Math.round((at * (all.length - 1)) / (most - 1))]);
}
