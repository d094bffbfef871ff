import { html } from "../vendor/preact.js";
import { fileName, save, toCsv } from "./export.js";
import { figurePng, figureSvg } from "./figure.js";

/**
 * Buttons that save a figure as it is seen, and its numbers.
 * @param {object} props
 * @param {string} props.figure     id of the element
 * @param {string} props.name       of the files
 * @param {string[]} props.title    above the figure
 * @param {string} [props.caption]  below it
 * @param {Record<string, () => {head: string[], rows: (string | number)[][]}>} props.tables  by what a button says
 */
export function Save({ figure, name, title, caption, tables }) {
  const element = () => /** @type {HTMLElement} */ (document.getElementById(figure));
  const file = fileName(name);
  const words = { title, caption };
  const svg = () => save(`${file}.svg`, new Blob([figureSvg(element(), words).text], { type: "image/svg+xml" }));
  const png = async () => save(`${file}.png`, await figurePng(element(), words));
  const csv = (/** @type {() => {head: string[], rows: (string | number)[][]}} */ make) => () => {
    const { head, rows } = make();
    save(`${file}.csv`, toCsv(head, rows));
  };
  return html`<p class="saving"><span class="faint">save</span> <button onClick=${png}>PNG</button> <button onClick=${svg}>SVG</button>
    ${Object.entries(tables).map(([label, make]) => html`<button onClick=${csv(make)}>${label}</button> `)}</p>`;
}
