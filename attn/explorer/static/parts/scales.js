import { paintScale } from "../draw/paint.js";
import { html, useEffect, useRef } from "../vendor/preact.js";

/** The scale of a map, from 0 on. @param {{top: string, children: any}} props  top: what the brightest colour means; and what of */
export function Scale({ top, children }) {
  const canvas = useRef(/** @type {HTMLCanvasElement | null} */ (null));
  useEffect(() => {
    if (canvas.current) paintScale(canvas.current);
  }, []);
  return html`<div class="scale"><span class="figure-text">0</span><canvas ref=${canvas} aria-hidden="true"></canvas><span class="figure-text">${top}</span><span class="of figure-text">${children}</span></div>`;
}

/** What a colour means. @param {{colour: string, children: any}} props */
export function Swatch({ colour, children }) {
  return html`<span class="swatch"><span class="figure-box" style=${`background:${colour}`}></span> <bdi class="figure-text">${children}</bdi></span>`;
}
