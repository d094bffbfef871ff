import { html, render, useEffect, useMemo, useState } from "./vendor/preact.js";
import { About } from "./about.js";
import { Cells } from "./cells.js";
import { percent } from "./colours.js";
import { Switches, shortcutsOf } from "./controls.js";
import { useFrame } from "./frame.js";
import { Keys } from "./keys.js";
import { useMasses, useTrace } from "./loading.js";
import { MatrixPanel } from "./matrix-panel.js";
import { largest } from "./paint.js";
import { Profiles, strongest } from "./profiles.js";
import { visible } from "./safe.js";
import { Steps } from "./steps.js";
import { useMatrix, useWritten } from "./text-loading.js";
import { TextMasses, textMeasures } from "./text-masses.js";
import { TextPane, shownText } from "./text-pane.js";
import { TextTrace, tokensOf } from "./texts.js";
import { readSelection } from "./trace.js";
import { Unmasking } from "./unmasking.js";
import { Work } from "./work.js";

/** @typedef {{row: number, column: number}} Focus  what is looked at; -1 is nothing on that axis */

/**
 * Screen B: a text, and who reads whom in it.
 * @param {HTMLElement} root
 * @param {import("./screens.js").Item} item
 * @param {import("./state.js").State} state
 */
export async function showText(root, item, state) {
  const work = new Work(item.source);
  render(html`<${Opened} item=${item} state=${state} work=${work} />`, root);
  return () => {
    work.close();
    render(null, root);
  };
}

/** @type {import("./keys.js").Shortcut[]} */
const TEXT_KEYS = [
  { keys: "← → ↑ ↓", does: "on the matrix: the next cell, with Shift ten on; on the text: the next token" },
  { keys: "+ − 0", does: "on the matrix: nearer, farther, the whole" },
  { keys: "Enter", does: "on the matrix: pin the cell; on the text: pin the token; on the steps of writing: show that step" },
  { keys: "↑ ↓ ← →", does: "on a layer: next layer, next head; Enter chooses the layer, h the head" },
];

/** @param {{item: import("./screens.js").Item, state: import("./state.js").State, work: Work}} props */
function Opened({ item, state, work }) {
  const trace = useTrace(item, TextTrace);
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  const heading = html`<h1 class="unseen">Attention of <bdi>${visible(item.label)}</bdi></h1>
    <${About} trace=${trace} source=${item.source} branch=${trace.branch(state.get("branch"))} />`;
  if (!trace.nets.length) return html`${heading}<p class="error" role="alert">No attention between tokens was kept in this trace.</p>`;
  return html`${heading}<${Reading} item=${item} state=${state} work=${work} trace=${trace} />`;
}

/** @param {{item: import("./screens.js").Item, state: import("./state.js").State, work: Work, trace: TextTrace}} props */
function Reading({ item, state, work, trace }) {
  const selection = readSelection(trace, state);
  const { net } = selection;
  const key = [selection.branch, selection.sample, net.name, selection.layers, selection.heads, selection.steps].join("/");
  const { sums, note, error, ask, ...loaded } = useMatrix(trace, work, selection, key, state.get("read") === "all");
  const { written, loaded: moments, error: unwritten } = useWritten(item.source, trace);
  const { masses, loaded: massSteps, error: unmeasured } = useMasses(item.source, trace, selection, TextMasses);
  const named = `${net.name}/${selection.branch}/${selection.sample}/${moments}`;
  const tokens = useMemo(
    () => tokensOf(/** @type {any} */ (net)).filter((token) => !written.isPadding(token, selection)),
    [net, written, named],
  );
  const words = useMemo(() => tokens.map((token) => written.text(token, selection)), [tokens, written, named]);
  const [hovered, hover, lastHovered] = useFrame(/** @type {Focus | null} */ (null));
  const pinned = readFocus(state.get("at"), /** @type {any} */ (net));
  const focus = pinned ?? hovered;
  const isReaders = state.get("side") === "readers";
  const currentOf = (/** @type {Focus | null} */ { row, column } = { row: -1, column: -1 }) =>
    tokens.findIndex((token) => (isReaders ? column >= 0 && token.column === column : row >= 0 && token.row === row));
  const current = focus ? currentOf(focus) : -1;
  const profile = useMemo(() => profileOf(sums, tokens, current), [sums, tokens, current]);
  const received = useMemo(() => onTokens(sums?.received ?? new Float64Array(net.columns.length), tokens), [sums, tokens]);
  const cellOf = (/** @type {number} */ at) => ({
    row: isReaders ? -1 : tokens[at].row,
    column: isReaders ? tokens[at].column : -1,
  });
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
    return measures.length > 0 && html`<${Cells} masses=${masses} loaded=${massSteps} measures=${measures} selection=${selection} hasHeads=${trace.hasHeads} shows="matrix"
      onChoose=${(/** @type {string} */ layers, /** @type {string} */ heads) => state.set({ layers, heads })} />`;
  }, [masses, massSteps, token?.id, name, key]);
  const shortcuts = [
    ...shortcutsOf(trace, state, selection, () => state.set({ at: "", find: "" })),
    { keys: "r", does: "what a token reads, or who reads it", run: () => state.set({ side: isReaders ? "" : "readers" }) },
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
  return html`<${Keys} shortcuts=${shortcuts} own=${TEXT_KEYS} />
  <${Switches} trace=${trace} state=${state} selection=${selection} />
  <div class="columns"><div class="left">
    <div class="words-head"><h2>The text</h2><span class="switch" role="group" aria-label="The ink says"><button aria-pressed=${String(!isReaders)} onClick=${() => state.set({ side: "" })}>what it reads</button><button aria-pressed=${String(isReaders)} onClick=${() => state.set({ side: "readers" })}>who reads it</button></span>
      <label>Find <input id="find-word" type="search" value=${state.get("find")} onInput=${(/** @type {any} */ event) => state.set({ find: event.target.value })} /></label></div>
    <${TextPane} tokens=${tokens} words=${words} states=${states} ink=${ink} current=${current} last=${() => currentOf(pinned ?? lastHovered() ?? undefined)} isPinned=${Boolean(pinned)} sought=${state.get("find")} onHover=${(/** @type {number | null} */ at) => hover(at === null ? null : cellOf(at))} onPin=${pinToken} />
    <p id="cell" class="say" aria-live="polite">${say}</p>
    ${pinned && html`<div class="chips"><span class="faint">pinned</span><button class="chip" onClick=${() => pin(null)}><bdi>${focusName(pinned, names)}</bdi> <span aria-hidden="true">×</span><span class="unseen">free</span></button></div>`}
    <${Steps} steps=${trace.hasStepMaps || !trace.hasMaps ? trace.steps : []} chosen=${selection.steps} onChoose=${(/** @type {string} */ text) => state.set({ steps: text })} />
    <p class="status" aria-live="polite">${loaded.key === key || !trace.hasMaps ? note : "Reading …"}${ask > 0 && html` <button onClick=${() => state.set({ read: "all" })}>Read all (${(ask / 1e9).toFixed(2)} GB)</button>`}</p>
    ${(error || unwritten || unmeasured) && html`<p class="error" role="alert">${visible(error || unwritten || unmeasured)}</p>`}
    <${Profiles} tokens=${tokens} words=${words} current=${current} reads=${profile?.reads ?? null} readers=${profile?.readers ?? null} received=${received} onPin=${pinToken} />
  </div><div class="right">
    ${sums && html`<${MatrixPanel} sums=${sums} net=${net} names=${names} state=${state} cell=${focus} last=${() => pinned ?? lastHovered()} isPinned=${Boolean(pinned)} onHover=${hover} onPin=${pin} name=${item.label} meant=${meantOf(selection)} table=${table} />`}
  </div></div>
  <${Unmasking} trace=${trace} written=${written} loaded=${moments} cell=${place} word=${wordAt(tokens, words)} steps=${selection.steps} name=${item.label}
    onChoose=${(/** @type {number} */ step, /** @type {number} */ position) => state.set({ steps: String(step), at: pinOf(tokens, position, cellOf) })} />
  ${cells}`;
}

/** @param {import("./texts.js").Token[]} tokens @param {string[]} words @returns {(position: number) => string} */
function wordAt(tokens, words) {
  const places = new Map(tokens.map((token, at) => [token.position, at]));
  return (position) => words[places.get(position) ?? -1] ?? `[${position}]`;
}

/** @param {import("./texts.js").Token[]} tokens @param {number} position @param {(at: number) => Focus} cellOf */
function pinOf(tokens, position, cellOf) {
  const at = tokens.findIndex((token) => token.position === position);
  return at < 0 ? "" : focusText(cellOf(at));
}

/** What is shown, in words. @param {any} selection */
function meantOf({ layers, heads, steps, net }) {
  const which = layers ? `layer ${layers.join(", ")}` : net.layers.length > 1 ? `mean of ${net.layers.length} layers` : "the only layer";
  return `${which}, ${heads ? `head ${heads.join(", ")}` : "all heads"}, ${steps ? `step ${steps.join(", ")}` : "all steps"}`;
}

/** What one token reads and who reads it, by token. @param {import("./matrix.js").MatrixSums | null} sums @param {import("./texts.js").Token[]} tokens @param {number} current */
function profileOf(sums, tokens, current) {
  if (!sums || current < 0) return null;
  const { row, column } = tokens[current];
  const reads = row >= 0 ? sums.row(row) : null;
  const readers = column >= 0 ? sums.column(column) : null;
  return {
    reads: reads && tokens.map((token) => (token.column >= 0 ? reads[token.column] : NaN)),
    readers: readers && tokens.map((token) => (token.row >= 0 ? readers[token.row] : NaN)),
  };
}

/** @param {Float64Array} received @param {import("./texts.js").Token[]} tokens */
const onTokens = (received, tokens) => tokens.map((token) => (token.column >= 0 ? received[token.column] : NaN));

/** Ink, 0 to 1: the root, so that little is seen too. @param {number[] | null | undefined} values */
function inkOf(values) {
  if (!values) return null;
  const top = largest(Float64Array.from(values)) || 1;
  return values.map((value) => Math.sqrt(Math.max(0, value || 0) / top));
}

/** @param {import("./texts.js").Token[]} tokens @param {string[]} words @param {"row" | "column"} axis @param {number} size */
function textsOf(tokens, words, axis, size) {
  const texts = Array.from({ length: size }, () => "");
  tokens.forEach((token, at) => {
    if (token[axis] >= 0) texts[token[axis]] = shownText(words[at]);
  });
  return texts;
}

/** @param {import("./texts.js").Token[]} tokens @param {number[] | null} steps @param {import("./texts.js").Written} written @param {number} cell @returns {import("./text-pane.js").TokenState[]} */
function statesOf(tokens, steps, written, cell) {
  const moment = steps?.length === 1 ? written.moment(steps[0], cell) : null;
  if (!moment) return [];
  return tokens.map(({ position }) => {
    if (position === null || !(position in moment.masked)) return "";
    return moment.finalised[position] ? "fresh" : moment.masked[position] ? "masked" : "";
  });
}

/** @param {Focus} focus @param {{rows: string[], columns: string[]}} names */
function focusName({ row, column }, names) {
  return [row >= 0 && `“${names.rows[row]}” (${row})`, column >= 0 && `“${names.columns[column]}” (${column})`].filter(Boolean).join(" → ");
}

/** What is looked at, in words. @param {Focus | null} focus @param {any} names @param {import("./matrix.js").MatrixSums | null} sums @param {any} profile @param {any} shown */
function sayFocus(focus, names, sums, profile, { tokens, words, current, isReaders }) {
  if (!focus || !sums) return "Point at a token or a cell, or use the arrow keys.";
  const { row, column } = focus;
  if (row >= 0 && column >= 0) return `“${names.rows[row]}” (${row}) reads “${names.columns[column]}” (${column}): ${percent(sums.value(row, column))}`;
  const values = isReaders ? profile?.readers : profile?.reads;
  if (!values) return isReaders ? "Nothing reads it here." : "It reads nothing here.";
  const first = strongest(values, 3).map((at) => `“${shownText(words[at])}” ${percent(values[at])}`);
  const name = `“${shownText(words[current])}” (${tokens[current].position})`;
  return `${name} ${isReaders ? "is read by" : "reads"} ${first.join(", ") || "nothing"}`;
}

/** @param {Focus} focus */
const focusText = ({ row, column }) => `${row},${column}`;

/** @param {string} text @param {import("./texts.js").Kind} net @returns {Focus | null} */
function readFocus(text, { rows, columns }) {
  const [row, column, ...more] = text.split(",").map(Number);
  const fits = (/** @type {number} */ at, /** @type {number} */ size) => Number.isInteger(at) && at >= -1 && at < size;
  return text && fits(row, rows.length) && fits(column, columns.length) && row + column > -2 && !more.length ? { row, column } : null;
}
