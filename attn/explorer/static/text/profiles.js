import { percent } from "../draw/colours.js";
import { html } from "../vendor/preact.js";
import { shownText } from "./text-pane.js";

const MOST = 12;

/**
 * Who reads whom: what a token reads, and who reads it, the most first.
 * @param {object} props
 * @param {import("../data/texts.js").Token[]} props.tokens
 * @param {string[]} props.words
 * @param {number} props.current   among the tokens; -1 is none
 * @param {ArrayLike<number> | null} props.reads     by token; NaN where there is none
 * @param {ArrayLike<number> | null} props.readers   by token
 * @param {ArrayLike<number>} props.received         by token: mean over all that read
 * @param {(at: number) => string} props.sink      what is said of a token that is a sink
 * @param {(at: number) => void} props.onPin
 */
export function Profiles({ tokens, words, current, reads, readers, received, sink, onPin }) {
  const list = (
    /** @type {string} */ title,
    /** @type {string} */ note,
    /** @type {ArrayLike<number> | null} */ values,
  ) => {
    if (!values) return null;
    const order = strongest(values, MOST);
    const top = order.length ? values[order[0]] : 0;
    return html`<section class="profile"><h2>${title}</h2><p class="faint">${note}</p>${
      order.length
        ? html`<table><thead><tr><th scope="col">token</th><th scope="col"><span class="unseen">as a bar</span></th><th scope="col">attention</th></tr></thead><tbody>${order.map(
            (
              at,
            ) => html`<tr key=${tokens[at].id} class=${at === current ? "is-current" : ""}><td><button class="word" style="--part:0" onClick=${() => onPin(at)}><bdi>${shownText(words[at])}</bdi></button><span class="tag">${tokens[at].position ?? ""}${sink(at)}</span></td>
              <td><span class="bar" style=${`width:${(100 * values[at]) / (top || 1)}%`}></span></td><td>${percent(values[at])}</td></tr>`,
          )}</tbody></table>`
        : html`<p>none</p>`
    }</section>`;
  };
  const name = current >= 0 ? `“${shownText(words[current])}”` : "";
  return html`<div class="profiles">${
    current >= 0
      ? html`${list(`${name} reads`, "what its row gives to each token; all of them sum to 1", reads)}${list(`${name} is read by`, "how much of each token's row goes to it", readers)}`
      : list("Most is read", "what each token gets of a row, mean over all rows", received)
  }</div>`;
}

/** Where the largest values are, the largest first. @param {ArrayLike<number>} values @param {number} most */
export function strongest(values, most) {
  /** @type {number[]} */
  const best = [];
  for (let at = 0; at < values.length; at++) {
    if (!(values[at] > 0) || (best.length === most && values[at] <= values[best[most - 1]])) continue;
    const place = best.findIndex((other) => values[other] < values[at]);
    best.splice(place < 0 ? best.length : place, 0, at);
    if (best.length > most) best.pop();
  }
  return best;
}
