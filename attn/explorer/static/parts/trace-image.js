import { html, useState } from "../vendor/preact.js";

/**
 * A picture of a trace; one that cannot be read says so.
 * @param {{source: string, alt?: string, [name: string]: any}} props  what an `img` has besides
 */
export function TraceImage({ source, alt = "", ...rest }) {
  const [broken, setBroken] = useState("");
  if (broken === source) return html`<span class="unread">this image cannot be read</span>`;
  return html`<img src=${source} alt=${alt} ...${rest} onError=${() => setBroken(source)} />`;
}
