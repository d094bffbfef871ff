import { percent } from "../draw/colours.js";
import { ORDERS, ranked } from "../parts/readings.js";
import { visible } from "../safe.js";
import { html, useState } from "../vendor/preact.js";
import { Word } from "./prompt.js";

const MOST = 24; // a longer list costs more than all sums

/**
 * Words ranked for the place.
 *
 * @param {object} props
 * @param {import("../parts/readings.js").Reading[]} props.readings
 * @param {import("../parts/readings.js").Order} props.order
 * @param {(order: string) => void} props.onOrder
 * @param {string[]} props.segments
 * @param {string} props.title
 * @param {boolean} props.isPlace  whether a place is looked at, or the whole picture
 * @param {string} props.current
 * @param {string[]} props.pins
 * @param {(id: string) => void} props.onPin
 * @param {(id: string | null) => void} props.onHover
 */
export function Words(props) {
  const { readings, onOrder, segments } = props;
  const [wanted, setWanted] = useState("");
  const order = props.order === "lift" && !props.isPlace ? "attention" : props.order;
  const sought = wanted.trim().toLowerCase();
  const all = ranked(readings, order).filter(({ group }) => !sought || group.text.toLowerCase().includes(sought));
  const most = Math.max(...all.map((one) => one[order] || 0), 1e-12);
  const head = (/** @type {import("../parts/readings.js").Order} */ name) =>
    html`<th scope="col" aria-sort=${order === name ? "descending" : "none"}><button title=${ORDERS[name].title} onClick=${() => onOrder(name)}>${name}</button></th>`;
  return html`<section class="words" aria-label="Words">
    <div class="words-head"><h2>${props.title}</h2><label class="search">Find <input id="find-word" type="search" value=${wanted} onInput=${(/** @type {any} */ event) => setWanted(event.target.value)} /></label></div>
    <table><thead><tr><th scope="col">word</th><th scope="col" class="bar-head"><span class="unseen">bar</span></th>${["attention", "share", "lift"].map((name) => head(/** @type {any} */ (name)))}</tr></thead>
    <tbody>${all.slice(0, MOST).map(
      (one) => html`<tr class=${`is-${one.group.kind}`}>
      <td><${Word} text=${visible(one.group.text)} reading=${one} part=${0} isCurrent=${props.current === one.group.id} isPinned=${props.pins.includes(one.group.id)} onPin=${props.onPin} onHover=${props.onHover} />${segments.length > 1 && html`<span class="tag">${visible(one.group.segment)}</span>`}</td>
      <td><span class="bar" style=${`width:${(100 * Math.max(0, one[order] || 0)) / most}%`}></span></td>
      <td>${percent(one.attention)}</td><td>${percent(one.share)}</td><td>${props.isPlace ? ORDERS.lift.format(one.lift) : "–"}</td></tr>`,
    )}</tbody></table>
    ${all.length > MOST && html`<p class="faint">${all.length - MOST} more with less; find them by name.</p>`}
    ${!props.isPlace && html`<p class="faint">Point at the image, drag a region, or use the arrow keys there: then the list is of that place, and <em>lift</em> says how much more it reads a word than the whole image does.</p>`}
  </section>`;
}
