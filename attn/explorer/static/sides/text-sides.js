import { points } from "../comparison/word-changes.js";
import { TextTrace, tokensOf } from "../data/texts.js";
import { readSelection } from "../data/trace.js";
import { percent } from "../draw/colours.js";
import { Save } from "../draw/saving.js";
import { useFrame } from "../frame.js";
import { Keys } from "../keys.js";
import { Lost } from "../parts/checks.js";
import { aboutSides, meantOf } from "../parts/titles.js";
import { visible } from "../safe.js";
import { Work } from "../sums/work.js";
import { RootScale, spansOf } from "../text/matrix-panel.js";
import { MatrixView, readWindow, windowText } from "../text/matrix-view.js";
import { useMatrix, useWritten } from "../text/text-loading.js";
import { shownText, TextPane } from "../text/text-pane.js";
import { focusText, inkOf, onTokens, profileOf, readFocus, sayFocus, textsOf } from "../text/text-telling.js";
import { html, render, useEffect, useMemo, useState } from "../vendor/preact.js";
import { CutsOfSides } from "./cuts-of-sides.js";
import { SharedAxes } from "./shared-axes.js";
import { TextDifference } from "./text-difference.js";

const MOST = 40; // tokens of the table

/**
 * Texts side by side: one cursor and one scale for all, and what a position reads in each.
 *
 * @typedef {{id: string, label: string, trace: TextTrace, work: Work, source: import("../data/source.js").Source}} Side
 * @typedef {{tokens: import("../data/texts.js").Token[], words: string[], names: {rows: string[], columns: string[]}, selection: any, loaded: import("../parts/loading.js").Loaded<import("../sums/matrix.js").MatrixSums>}} Read
 */

/**
 * @param {HTMLElement} root
 * @param {import("../screens.js").Item[]} items  all of them texts
 * @param {import("../state.js").State} state
 */
export async function showTextSides(root, items, state) {
  const sides = items.map(({ id, label, facts, source }) => ({
    id,
    label,
    source,
    trace: new TextTrace(facts),
    work: new Work(source),
  }));
  render(html`<${TextSides} sides=${sides} state=${state} />`, root);
  return () => {
    for (const side of sides) side.work.close();
    render(null, root);
  };
}

/** @type {import("../keys.js").Shortcut[]} */
const TEXT_SIDES_KEYS = [
  { keys: "← → ↑ ↓", does: "on a matrix: the next cell, with Shift ten on; on a text: the next token; in all of them" },
  { keys: "+ − 0", does: "on a matrix: nearer, farther, the whole, in all of them" },
  { keys: "Enter", does: "pin the cell, or the token" },
];

/** @param {{sides: Side[], state: import("../state.js").State}} props */
function TextSides({ sides, state }) {
  const [, redraw] = useState(0);
  useEffect(() => state.on(() => redraw((n) => n + 1)), [state]);
  const [read, setRead] = useState(/** @type {Record<string, Read>} */ ({}));
  const [hovered, hover, last] = useFrame(/** @type {import("../text/text-telling.js").Focus | null} */ (null));
  const there = sides.flatMap((side) => (read[side.id] ? [read[side.id]] : []));
  const kinds = sides.map((side) => read[side.id]?.selection.net ?? null);
  const axes = useMemo(() => new SharedAxes(kinds), kinds);
  const both = /** @type {any} */ ({ rows: axes.rows.ids, columns: axes.columns.ids });
  const pinned = axes.rows.ids.length ? state.read("at", (text) => readFocus(text, both)) : null;
  const focus = pinned ?? hovered;
  const pin = (/** @type {any} */ cell) => state.set({ at: cell ? focusText(cell) : "" });
  const top = Math.max(...there.map(({ loaded }) => loaded.sums?.usual ?? 0), 0) || 1;
  const notes = sides.flatMap((side) => {
    const { error, note } = read[side.id]?.loaded ?? { error: "", note: "Reading …" };
    return [error, note].filter(Boolean).map((text) => `${side.label}: ${text}`);
  });
  const asks = there.some(({ loaded }) => loaded.ask > 0);
  const rows = useMemo(() => readsOf(sides, read, axes, focus?.row ?? -1), [sides, read, axes, focus?.row]);
  const shortcuts = [
    { keys: "Escape", does: "free what is pinned", run: () => pin(null) },
    { keys: "?", does: "this list" },
  ];
  const isRow = focus !== null && focus.row >= 0;
  const looked = isRow ? axes.rows.ids[focus.row] : "";
  const isTwo = sides.length === 2;
  const table = () => ({
    head: ["position", "segment", "token", ...sides.map((side) => side.label), ...(isTwo ? ["difference"] : [])],
    rows: rows.map(({ token, text, values }) => [
      token.position ?? "rest",
      token.segment,
      text,
      ...values,
      ...(isTwo ? [values[1] - values[0]] : []),
    ]),
  });
  const meant = there[0] ? meantOf(there[0].selection) : "";
  const cursor = { focus, last: () => pinned ?? last(), isPinned: Boolean(pinned), onHover: hover, onPin: pin };
  const ownCursor = (/** @type {number} */ text) => ({
    ...cursor,
    focus: axes.own(focus, text),
    isLooked: focus !== null,
    last: () => axes.own(cursor.last(), text),
    onHover: (/** @type {any} */ cell) => hover(axes.shared(cell, text)),
    onPin: (/** @type {any} */ cell) => pin(axes.shared(cell, text)),
  });
  return html`<${Keys} shortcuts=${shortcuts} own=${TEXT_SIDES_KEYS} /><h1 class="unseen">Texts side by side</h1>
    ${sides.map((side) => html`<${Lost} key=${side.id} label=${visible(side.label)} source=${side.source} status=${side.trace.manifest.status} error=${read[side.id]?.loaded.error} />`)}
    <${CutsOfSides} sides=${sides} />
    ${sides.map((side) => html`<${Reader} key=${side.id} side=${side} state=${state} onRead=${(/** @type {Read} */ one) => setRead((before) => ({ ...before, [side.id]: one }))} />`)}
    <p class="status" aria-live="polite">${notes.map(visible).join(" ")}${asks && html` <button onClick=${() => state.set({ read: "all" })}>Read all</button>`}</p>
    <p class="faint">Rows read, columns are read; ${meant}. One cursor and one scale hold for all.</p>
    <div id="text-sides" class="side-row text-sides" style=${`--sides:${sides.length}`}>${sides.map((side, text) => html`<${SideText} ...${ownCursor(text)} top=${top} key=${side.id} side=${side} read=${read[side.id] ?? null} state=${state} />`)}</div>
    <${RootScale} top=${top} scale="root" isCut=${true} />
    <${Save} figure="text-sides" name=${sides.map((side) => side.label).join("-")} title=${["Who reads whom", ...aboutSides(sides, (side) => read[side.id]?.selection)]} caption=${`Rows read, columns are read. One scale for all, that of the root, 0 to ${percent(top)} and more.`} tables=${{ CSV: table }} />
    ${isTwo && there.length === 2 && html`<${TextDifference} ...${cursor} sides=${sides} reads=${there} axes=${axes} state=${state} />`}
    <h2>${isRow ? `What ${visible(looked)} reads` : "Most is read"}</h2>
    <p class="faint">${isRow ? "What its row gives to each token" : "What each token gets of a row, mean over all rows"}, sorted by how much the texts differ.</p>
    <div class="side-words"><table><thead><tr><th scope="col">token</th>${sides.map((side) => html`<th scope="col"><bdi>${visible(side.label)}</bdi></th>`)}${isTwo && html`<th scope="col">difference, points</th>`}</tr></thead>
      <tbody>${rows.slice(0, MOST).map(({ id, token, text, values }) => html`<tr key=${id}><td><bdi>${text}</bdi> <span class="tag">${token.position ?? ""}</span></td>${values.map((value) => html`<td>${percent(value)}</td>`)}${isTwo && html`<td>${points(values[1] - values[0])}</td>`}</tr>`)}</tbody></table></div>`;
}

/** Reads one text, and says what came. @param {{side: Side, state: import("../state.js").State, onRead: (read: Read) => void}} props */
function Reader({ side, state, onRead }) {
  const { trace, work, source, id } = side;
  const selection = readSelection(trace, state, id);
  const net = /** @type {import("../data/texts.js").Kind} */ (/** @type {any} */ (selection.net));
  const { branch, sample, layers, heads, steps } = selection;
  const key = [id, branch, sample, net?.name, layers, heads, steps].join("/");
  const loaded = useMatrix(trace, work, selection, key, state.choice("read", ["all"]) === "all");
  const { written, loaded: moments } = useWritten(source, trace);
  useEffect(() => {
    if (!net) return;
    const tokens = tokensOf(net).filter((token) => !written.isPadding(token, selection));
    const words = tokens.map((token) => written.text(token, selection));
    const names = {
      rows: textsOf(tokens, words, "row", net.rows.length),
      columns: textsOf(tokens, words, "column", net.columns.length),
    };
    const note = trace.hasMaps ? loaded.note : "no maps were kept";
    onRead({ tokens, words, names, selection, loaded: { ...loaded, note } });
  }, [loaded, moments, key]);
  return null;
}

/** One text with its matrix. @param {any} props */
function SideText({ side, read, state, focus, isLooked, last, isPinned, onHover, onPin, top }) {
  const axes = useMemo(() => {
    if (!read) return null;
    const { rows, columns, segments } = read.selection.net;
    return { ...read.names, rowSpans: spansOf(rows, segments), columnSpans: spansOf(columns, segments) };
  }, [read?.names]);
  const sums = /** @type {import("../sums/matrix.js").MatrixSums | null} */ (read?.loaded.sums ?? null);
  const currentOf = (/** @type {any} */ cell) =>
    cell && cell.row >= 0 ? read.tokens.findIndex((/** @type {any} */ token) => token.row === cell.row) : -1;
  const current = read ? currentOf(focus) : -1;
  const profile = useMemo(() => read && profileOf(sums, read.tokens, current), [read, sums, current]);
  const ink = useMemo(() => inkOf(profile?.reads), [profile]);
  const title = html`<figcaption class="figure-text"><bdi>${visible(side.label)}</bdi></figcaption>`;
  if (!read) return html`<figure class="panel">${title}</figure>`;
  const { tokens, words, names } = read;
  const isInside = focus && sums && focus.row < sums.rows && focus.column < sums.columns;
  const say = isInside
    ? sayFocus(focus, names, sums, profile, { tokens, words, current, isReaders: false })
    : isLooked && !focus
      ? "This text has no such position."
      : "Point at a token or a cell, or use the arrow keys.";
  const cellOf = (/** @type {number | null} */ at) => (at === null ? null : { row: tokens[at].row, column: -1 });
  return html`<figure class="panel">${title}
    <${TextPane} name=${`text-${side.id}`} tokens=${tokens} words=${words} states=${NO_STATES} ink=${ink} current=${current} last=${() => currentOf(last())} isPinned=${isPinned} sought="" onHover=${(/** @type {number | null} */ at) => onHover(cellOf(at))} onPin=${(/** @type {number | null} */ at) => onPin(cellOf(at))} />
    <p id=${`matrix-${side.id}-cell`} class="say" aria-live="polite">${say}</p>
    ${sums && html`<${MatrixView} name=${`matrix-${side.id}`} sums=${sums} received=${sums.received} axes=${axes} window=${readWindow(state.get("view"), sums)} top=${top} scale="root" pooling="most" cell=${isInside ? focus : null} last=${last} isPinned=${isPinned} onHover=${onHover} onPin=${onPin} onWindow=${(/** @type {any} */ window) => state.set({ view: windowText(window, sums) })} label=${`Matrix of ${visible(side.label)}`} />`}</figure>`;
}

/** @type {any[]} */
const NO_STATES = [];

/**
 * What a row reads in each text, or, of no row, what each token gets: by position, those first that differ most.
 * @param {Side[]} sides
 * @param {Record<string, Read>} read
 * @param {SharedAxes} axes
 * @param {number} row  shared
 */
function readsOf(sides, read, axes, row) {
  /** @type {Map<string, {id: string, token: import("../data/texts.js").Token, texts: Set<string>, values: number[]}>} */
  const found = new Map();
  sides.forEach((side, place) => {
    const { tokens, words, loaded } = read[side.id] ?? { tokens: [], words: [], loaded: null };
    const sums = loaded?.sums;
    if (!sums) return;
    const own = row < 0 ? -1 : axes.rows.own[place][row];
    const current = tokens.findIndex((token) => own >= 0 && token.row === own);
    const values = row < 0 ? onTokens(sums.received, tokens) : profileOf(sums, tokens, current)?.reads;
    tokens.forEach((token, at) => {
      if (token.column < 0) return;
      const id = axes.columns.ids[axes.columns.shared[place][token.column]];
      const line = found.get(id) ?? { id, token, texts: new Set(), values: sides.map(() => Number.NaN) };
      line.texts.add(shownText(words[at]));
      line.values[place] = values?.[at] ?? Number.NaN;
      found.set(id, line);
    });
  });
  const apart = (/** @type {number[]} */ values) => Math.max(...values) - Math.min(...values) || 0;
  return [...found.values()]
    .map(({ id, token, texts, values }) => ({ id, token, text: [...texts].join(" | "), values }))
    .sort((a, b) => apart(b.values) - apart(a.values));
}
