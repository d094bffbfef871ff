import { html } from "../vendor/preact.js";
import { Ramp } from "./map-panel.js";

/** The scale of a map, from 0 on. @param {{top: string, children: any}} props  top: what the brightest colour means; and what of */
export function Scale({ top, children }) {
  return html`<div class="scale"><span class="figure-text">0</span><${Ramp} kind="amount" /><span class="figure-text">${top}</span><span class="of figure-text">${children}</span></div>`;
}

/** What a colour means. @param {{colour: string, children: any}} props */
export function Swatch({ colour, children }) {
  return html`<span class="swatch"><span class="figure-box" style=${`background:${colour}`}></span> <bdi class="figure-text">${children}</bdi></span>`;
}
