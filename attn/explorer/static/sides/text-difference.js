import { points } from "../comparison/word-changes.js";
import { percent } from "../draw/colours.js";
import { Save } from "../draw/saving.js";
import { Ramp } from "../parts/map-panel.js";
import { aboutSides } from "../parts/titles.js";
import { visible } from "../safe.js";
import { subtractMatrices } from "../sums/matrix.js";
import { MatrixView, readWindow, windowText } from "../text/matrix-view.js";
import { html, useMemo } from "../vendor/preact.js";

const MOST_SAVED = 250_000; // cells of a table

/**
 * The matrix of one text minus that of another, by position.
 * @param {object} props
 * @param {import("./text-sides.js").Side[]} props.sides  two
 * @param {import("./text-sides.js").Read[]} props.reads  of both
 * @param {import("./shared-axes.js").SharedAxes} props.axes
 * @param {import("../text/text-telling.js").Focus | null} props.focus  shared
 * @param {() => import("../text/text-telling.js").Focus | null} props.last
 * @param {boolean} props.isPinned
 * @param {(focus: any) => void} props.onHover
 * @param {(focus: any) => void} props.onPin
 * @param {import("../state.js").State} props.state
 */
export function TextDifference({ sides, reads, axes, focus, last, isPinned, onHover, onPin, state }) {
  const sums = reads.map(({ loaded }) => loaded.sums);
  const rows = useMemo(() => axes.rows.both(0, 1), [axes]);
  const columns = useMemo(() => axes.columns.both(0, 1), [axes]);
  const difference = useMemo(
    () => (sums[0] && sums[1] ? subtractMatrices(sums[0], sums[1], rows, columns) : null),
    [...sums, rows, columns],
  );
  const names = useMemo(
    () => ({ rows: namesOf(rows, reads, "rows"), columns: namesOf(columns, reads, "columns") }),
    [rows, columns, ...reads.map((read) => read.names)],
  );
  if (!sums[0] || !sums[1] || !difference) return null;
  const [base, other] = sums;
  const isNothing = !difference.largest;
  const rule = ruleOf(axes, rows, columns, reads);
  if (isNothing)
    return html`<section id="text-difference" aria-label="Difference"><h2>Difference</h2><p class="faint">${rule} ${difference.count ? "No cell differs." : "There is no cell that both have."}</p></section>`;
  const toOwn = (/** @type {any} */ shared) => cellIn(rows, columns, axes.own(shared, 0));
  const toShared = (/** @type {any} */ cell) =>
    cell && axes.shared({ row: rows[cell.row][0], column: columns[cell.column][0] }, 0);
  const cell = toOwn(focus);
  const top = difference.usual || difference.largest || 1;
  const labels = sides.map((side) => visible(side.label));
  const say = cell
    ? `“${names.rows[cell.row]}” reads “${names.columns[cell.column]}”: ${percent(base.value(...at(rows, columns, cell, 0)))} → ${percent(other.value(...at(rows, columns, cell, 1)))}, ${points(difference.value(cell.row, cell.column))} points`
    : "Point at a cell, or use the arrow keys.";
  const table = () => ({
    head: ["row", "column", labels[0], labels[1], "difference"],
    rows: rows.flatMap((_, row) =>
      columns.map((_, column) => [
        names.rows[row],
        names.columns[column],
        base.value(...at(rows, columns, { row, column }, 0)),
        other.value(...at(rows, columns, { row, column }, 1)),
        difference.value(row, column),
      ]),
    ),
  });
  const ticks = [-top, 0, top];
  const shown = readWindow(state.get("view"), difference);
  const name = sides.map((side) => side.label).join("-");
  return html`<section id="text-difference" aria-label="Difference"><h2>Difference: <bdi>${labels[1]}</bdi> minus <bdi>${labels[0]}</bdi></h2>
    <p class="faint">${rule} Orange is more, blue is less; a pixel shows the cell that differs most.</p>
    <div class="panel"><${MatrixView} name="matrix-difference" sums=${difference} received=${null} axes=${{ ...names, rowSpans: [], columnSpans: [] }} window=${shown} top=${top} scale="root" isSigned=${true} pooling="most" cell=${cell} last=${() => toOwn(last())} isPinned=${isPinned} onHover=${(/** @type {any} */ one) => onHover(toShared(one))} onPin=${(/** @type {any} */ one) => onPin(toShared(one))} onWindow=${(/** @type {any} */ window) => state.set({ view: windowText(window, difference) })} label=${`Difference of ${labels[1]} and ${labels[0]}`}><div class="scale ticks"><${Ramp} kind="change" />${ticks.map((tick, place) => html`<span class="figure-text">${tick === 0 ? "0" : `${points(tick)} points`}${place !== 1 && difference.largest > top ? " and more" : ""}</span>`)}</div><//></div>
    <p id="matrix-difference-cell" class="say" aria-live="polite">${say}</p>
    <${Save} figure="matrix-difference-figure" name=${`${name}-difference`} title=${[`Who reads whom: ${labels[1]} minus ${labels[0]}`, ...aboutSides(sides, (side) => reads[sides.indexOf(side)].selection)]} caption=${`Points of attention, from ${points(-top)} to ${points(top)} on a scale of the root. ${rule}`} tables=${rows.length * columns.length <= MOST_SAVED ? { CSV: table } : {}} /></section>`;
}

/** Where a cell of the difference lies in one of the texts. @param {[number, number][]} rows @param {[number, number][]} columns @param {{row: number, column: number}} cell @param {0 | 1} text @returns {[number, number]} */
const at = (rows, columns, cell, text) => [rows[cell.row][text], columns[cell.column][text]];

/** The cell of the difference that is a cell of the first text. @param {[number, number][]} rows @param {[number, number][]} columns @param {any} own */
function cellIn(rows, columns, own) {
  if (!own) return null;
  const row = rows.findIndex(([first]) => first === own.row);
  const column = columns.findIndex(([first]) => first === own.column);
  return row >= 0 && column >= 0 ? { row, column } : null;
}

/** Tokens of positions that both have; where they differ, both. @param {[number, number][]} pairs @param {import("./text-sides.js").Read[]} reads @param {"rows" | "columns"} axis */
function namesOf(pairs, reads, axis) {
  return pairs.map(([first, second]) => {
    const texts = [reads[0].names[axis][first], reads[1].names[axis][second]];
    return texts[0] === texts[1] ? texts[0] : texts.join(" | ");
  });
}

/** By which rule cells were matched, in words. @param {import("./shared-axes.js").SharedAxes} axes @param {[number, number][]} rows @param {[number, number][]} columns @param {import("./text-sides.js").Read[]} reads */
function ruleOf(axes, rows, columns, [{ names: first }, { names: second }]) {
  const others = columns.filter(([a, b]) => first.columns[a] !== second.columns[b]).length;
  const alone = axes.rows.ids.length - rows.length + axes.columns.ids.length - columns.length;
  const differ = others
    ? ` At ${others} of ${columns.length} positions they have different tokens: both are named.`
    : "";
  const left = alone ? ` Rows and columns that only one of them has are left out: ${alone}.` : "";
  return `The texts are matched by segment and by position in it, counted from where the segment begins, whatever token stands there.${differ}${left}`;
}
