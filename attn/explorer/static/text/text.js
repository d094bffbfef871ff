import { TextMasses, textMeasures } from "../data/text-masses.js";
import { TextTrace, tokensOf } from "../data/texts.js";
import { readSelection } from "../data/trace.js";
import { useFrame } from "../frame.js";
import { Keys } from "../keys.js";
import { About } from "../parts/about.js";
import { Cells } from "../parts/cells.js";
import { Switches, shortcutsOf } from "../parts/controls.js";
import { useMasses, useTrace } from "../parts/loading.js";
import { Steps } from "../parts/steps.js";
import { requestOf, selectionOf } from "../parts/titles.js";
import { visible } from "../safe.js";
import { Work } from "../sums/work.js";
import { html, render, useEffect, useMemo, useState } from "../vendor/preact.js";
import { MatrixPanel } from "./matrix-panel.js";
import { Profiles, strongest } from "./profiles.js";
import { useMatrix, useWritten } from "./text-loading.js";
import { shownText, TextPane } from "./text-pane.js";
import {
  focusName,
  focusText,
  inkOf,
  nextFound,
  onTokens,
  pinOf,
  profileOf,
  readFocus,
  sayFocus,
  statesOf,
  textsOf,
  wordAt,
} from "./text-telling.js";
import { Unmasking } from "./unmasking.js";

/** @typedef {import("./text-telling.js").Focus} Focus */

/**
 * Screen B: a text, and who reads whom in it.
 * @param {HTMLElement} root
 * @param {import("../screens.js").Item} item
 * @param {import("../state.js").State} state
 */
export async function showText(root, item, state) {
  const work = new Work(item.source);
  render(html`<${Opened} item=${item} state=${state} work=${work} />`, root);
  return () => {
    work.close();
    render(null, root);
  };
}

/** @type {import("../keys.js").Shortcut[]} */
const TEXT_KEYS = [
  { keys: "← → ↑ ↓", does: "on the matrix: the next cell, with Shift ten on; on the text: the next token" },
  { keys: "+ − 0", does: "on the matrix: nearer, farther, the whole" },
  {
    keys: "Enter",
    does: "on the matrix: pin the cell; on the text: pin the token; on the steps of writing: show that step; in Find: the next token",
  },
  { keys: "↑ ↓ ← →", does: "on a layer: next layer, next head; Enter chooses the layer, h the head" },
];

/** @param {{item: import("../screens.js").Item, state: import("../state.js").State, work: Work}} props */
function Opened({ item, state, work }) {
  const [trace, lost] = useTrace(item, TextTrace);
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  if (!trace.nets.length)
    return html`<${Heading} item=${item} trace=${trace} state=${state} lost=${lost} error="" /><p class="error" role="alert">No attention between tokens was kept in this trace.</p>`;
  return html`<${Reading} item=${item} state=${state} work=${work} trace=${trace} lost=${lost} />`;
}

/** @param {{item: import("../screens.js").Item, trace: TextTrace, state: import("../state.js").State, lost: string, error: string}} props */
function Heading({ item, trace, state, lost, error }) {
  return html`<h1 class="unseen">Attention of <bdi>${visible(item.label)}</bdi></h1>
    <${About} trace=${trace} source=${item.source} branch=${trace.branch(state.get("branch"))} lost=${lost} error=${error} />`;
}

/** @param {{item: import("../screens.js").Item, state: import("../state.js").State, work: Work, trace: TextTrace, lost: string}} props */
function Reading({ item, state, work, trace, lost }) {
  const selection = readSelection(trace, state);
  const net = /** @type {import("../data/texts.js").Kind} */ (/** @type {any} */ (selection.net));
  const key = [selection.branch, selection.sample, net.name, selection.layers, selection.heads, selection.steps].join(
    "/",
  );
  const { sums, note, error, ask } = useMatrix(trace, work, selection, key, state.choice("read", ["all"]) === "all");
  const { written, loaded: moments, error: unwritten } = useWritten(item.source, trace);
  const { masses, loaded: massSteps, error: unmeasured } = useMasses(item.source, trace, selection, TextMasses);
  const named = `${net.name}/${selection.branch}/${selection.sample}/${moments}`;
  const tokens = useMemo(
    () => tokensOf(net).filter((token) => !written.isPadding(token, selection)),
    [net, written, named],
  );
  const words = useMemo(() => tokens.map((token) => written.text(token, selection)), [tokens, written, named]);
  const [hovered, hover, lastHovered] = useFrame(/** @type {Focus | null} */ (null));
  const pinned = state.read("at", (text) => readFocus(text, net));
  const focus = pinned ?? hovered;
  const isReaders = state.choice("side", ["readers"]) === "readers";
  const currentOf = (/** @type {Focus} */ { row, column }) =>
    tokens.findIndex((token) => (isReaders ? column >= 0 && token.column === column : row >= 0 && token.row === row));
  const current = focus ? currentOf(focus) : -1;
  const profile = useMemo(() => profileOf(sums, tokens, current), [sums, tokens, current]);
  const isMeasured = massSteps === masses.wanted.length;
  const received = useMemo(() => {
    const known = sums?.received ?? (isMeasured && !trace.hasMaps ? masses.received(selection.steps) : null);
    return onTokens(known ?? new Float64Array(net.columns.length), tokens);
  }, [sums, tokens, isMeasured, String(selection.steps)]);
  const cellIn = (/** @type {number} */ at, /** @type {boolean} */ readers) => ({
    row: readers ? -1 : tokens[at].row,
    column: readers ? tokens[at].column : -1,
  });
  const cellOf = (/** @type {number} */ at) => cellIn(at, isReaders);
  const turn = (/** @type {boolean} */ readers) => {
    const isToken = current >= 0 && focus && (focus.row < 0 || focus.column < 0);
    const cell = isToken ? cellIn(current, readers) : null; // the same token, from the other side
    if (cell) hover(cell);
    state.set({ side: readers ? "readers" : "", ...(cell && pinned ? { at: focusText(cell) } : {}) });
  };
  const pin = (/** @type {Focus | null} */ one) => state.set({ at: one ? focusText(one) : "" });
  const pinToken = (/** @type {number | null} */ at) => pin(at === null ? null : cellOf(at));
  const place = selection.branch === "" ? 0 : trace.cell(selection);
  const states = useMemo(
    () => statesOf(tokens, selection.steps, written, place),
    [tokens, written, moments, String(selection.steps), place],
  );
  const ink = useMemo(() => inkOf(isReaders ? profile?.readers : profile?.reads), [profile, isReaders]);
  const names = useMemo(
    () => ({
      rows: textsOf(tokens, words, "row", net.rows.length),
      columns: textsOf(tokens, words, "column", net.columns.length),
    }),
    [tokens, words],
  );
  const say = sayFocus(focus, names, sums, profile, { tokens, words, current, isReaders });
  const kept = pinned ? current : -1;
  const token = tokens[kept >= 0 ? kept : (strongest(received, 1)[0] ?? -1)] ?? null;
  const name = token ? shownText(words[tokens.indexOf(token)]) : "";
  const cells = useMemo(() => {
    const measures = massSteps > 0 && (token || !trace.hasMaps) ? textMeasures(masses, token, name) : [];
    return (
      measures.length > 0 &&
      html`<${Cells} masses=${masses} loaded=${massSteps} measures=${measures} selection=${selection} hasHeads=${trace.hasHeads} name=${item.label} about=${[requestOf(trace), selectionOf(trace, selection)]} shows="matrix"
      onChoose=${(/** @type {string} */ layers, /** @type {string} */ heads) => state.set({ layers, heads })} />`
    );
  }, [masses, massSteps, token?.id, name, key]);
  const sink = (/** @type {number} */ at) => {
    const count = isMeasured && tokens[at].column >= 0 ? masses.sinkLayers(tokens[at].column) : 0;
    return count ? ` · sink in ${count} of ${net.layers.length} layers` : "";
  };
  const shortcuts = [
    ...shortcutsOf(trace, state, selection, () => state.set({ at: "", find: "" })),
    {
      keys: "r",
      does: "what a token reads, or who reads it",
      run: () => turn(!isReaders),
    },
  ];
  const table = () => ({
    head: ["position", "segment", "token", "received", ...(profile ? ["reads", "is read by"] : [])],
    rows: tokens.map((one, at) => [
      one.position ?? "rest",
      one.segment,
      words[at],
      received[at],
      ...(profile ? [profile.reads?.[at] ?? "", profile.readers?.[at] ?? ""] : []),
    ]),
  });
  return html`<${Heading} item=${item} trace=${trace} state=${state} lost=${lost} error=${error || unwritten || unmeasured} />
  <${Keys} shortcuts=${shortcuts} own=${TEXT_KEYS} />
  <${Switches} trace=${trace} state=${state} selection=${selection} />
  <div class="columns"><div class="left">
    <div class="words-head"><h2>The text</h2><span class="switch" role="group" aria-label="The ink says"><button aria-pressed=${String(!isReaders)} onClick=${() => turn(false)}>what it reads</button><button aria-pressed=${String(isReaders)} onClick=${() => turn(true)}>who reads it</button></span>
      <label>Find <input id="find-word" type="search" value=${state.get("find")} onInput=${(/** @type {any} */ event) => state.set({ find: event.target.value })} onKeyDown=${(/** @type {KeyboardEvent} */ event) => event.key === "Enter" && pinToken(nextFound(words, state.get("find"), current))} /></label></div>
    <${TextPane} tokens=${tokens} words=${words} states=${states} ink=${ink} current=${current} last=${() => currentOf(pinned ?? lastHovered() ?? { row: -1, column: -1 })} isPinned=${Boolean(pinned)} sought=${state.get("find")} onHover=${(/** @type {number | null} */ at) => hover(at === null ? null : cellOf(at))} onPin=${pinToken} />
    <p id="cell" class="say" aria-live="polite">${say}</p>
    ${pinned && html`<div class="chips"><span class="faint">pinned</span><button class="chip" onClick=${() => pin(null)}><bdi>${focusName(pinned, names)}</bdi> <span aria-hidden="true">×</span><span class="unseen">free</span></button></div>`}
    <${Steps} steps=${trace.singleSteps} total=${trace.count} averaged=${trace.meanCount} chosen=${selection.steps} onChoose=${(/** @type {string} */ text) => state.set({ steps: text })} />
    <p class="status" aria-live="polite">${note}${ask > 0 && html` <button onClick=${() => state.set({ read: "all" })}>Read all (${(ask / 1e9).toFixed(2)} GB)</button>`}</p>
    ${(error || unwritten || unmeasured) && html`<p class="error" role="alert">${visible(error || unwritten || unmeasured)}</p>`}
    <${Profiles} tokens=${tokens} words=${words} current=${current} reads=${profile?.reads ?? null} readers=${profile?.readers ?? null} received=${received} sink=${sink} onPin=${pinToken} />
  </div><div class="right">
    ${sums && html`<${MatrixPanel} sums=${sums} net=${net} names=${names} state=${state} cell=${focus} last=${() => pinned ?? lastHovered()} isPinned=${Boolean(pinned)} onHover=${hover} onPin=${pin} name=${item.label} about=${requestOf(trace)} meant=${selectionOf(trace, selection)} table=${table} />`}
  </div></div>
  <${Unmasking} trace=${trace} written=${written} loaded=${moments} cell=${place} word=${wordAt(tokens, words)} steps=${selection.steps} name=${item.label} about=${requestOf(trace)}
    onChoose=${(/** @type {number} */ step, /** @type {number} */ position) => state.set({ steps: String(step), at: pinOf(tokens, position, cellOf) })} />
  ${cells}`;
}
