import { html, useEffect, useMemo, useRef, useState } from "../vendor/preact.js";

const MANY = 1000; // tokens that are drawn only when what is to be read was asked for

/**
 * The text itself, token by token, inked by what the looked-at token reads, or by who reads it.
 *
 * @typedef {"masked" | "fresh" | "decided" | ""} TokenState  of a position in a step
 *
 * @param {object} props
 * @param {import("../data/texts.js").Token[]} props.tokens
 * @param {string[]} props.words          what they say
 * @param {TokenState[]} props.states     nothing where no single step is shown
 * @param {ArrayLike<number> | null} props.ink  of each token, 0 to 1 of the darkest
 * @param {number} props.current          among the tokens; -1 is none
 * @param {() => number} props.last       the same, if keys follow faster than frames
 * @param {boolean} props.isPinned
 * @param {string} props.sought
 * @param {(at: number | null) => void} props.onHover
 * @param {(at: number | null) => void} props.onPin
 * @param {string} [props.name]           of the element: several texts can stand on a page
 */
export function TextPane({
  name = "text",
  tokens,
  words,
  states,
  ink,
  current,
  last,
  isPinned,
  sought,
  onHover,
  onPin,
}) {
  const box = useRef(/** @type {HTMLElement | null} */ (null));
  const parts = useMemo(() => {
    const segments = [...new Set(tokens.map((token) => token.segment))];
    return segments.map((segment) => ({
      segment,
      members: tokens.map((token, at) => ({ token, at })).filter(({ token }) => token.segment === segment),
    }));
  }, [tokens]);
  const [isDrawn, draw] = useState(tokens.length < MANY);
  useEffect(() => draw(true), []);
  const tint = () => box.current && inkSeen(box.current, ink);
  useEffect(tint, [ink, parts, words, states, isDrawn]);
  useEffect(() => {
    box.current?.querySelector(".token.current")?.classList.remove("current");
    const node = box.current?.querySelector(`[data-at="${current}"]`);
    node?.classList.add("current");
    if (box.current && node && (isPinned || document.activeElement === box.current)) showInside(box.current, node);
  }, [current, parts, words, states, isDrawn]);
  const inside = useMemo(() => {
    const found = (/** @type {number} */ at) => sought && words[at].toLowerCase().includes(sought.toLowerCase());
    return (isDrawn ? parts : []).map(
      ({ segment, members }) =>
        html`<div role="group" class="passage" aria-label=${segment} data-name=${segment}>${members.map(
          ({ token, at }) =>
            html`<span role="option" id=${`${name}-${at}`} aria-selected="false" aria-label=${`${words[at]}${states[at] ? `, ${states[at]}` : ""}`} class=${`token ${states[at] ?? ""} ${found(at) ? "found" : ""}`} data-at=${at} key=${token.id}>${shownText(words[at])}</span>`,
        )}</div>`,
    );
  }, [parts, words, states, sought, isDrawn]);
  const atOf = (/** @type {Event} */ event) => {
    const node = /** @type {HTMLElement} */ (event.target).closest?.(".token");
    return node ? Number(/** @type {HTMLElement} */ (node).dataset.at) : null;
  };
  const onKey = (/** @type {KeyboardEvent} */ event) => {
    const now = last();
    const move = /** @type {Record<string, number>} */ ({ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -10, ArrowDown: 10 })[
      event.key
    ];
    if (move) {
      const next = now < 0 ? 0 : Math.max(0, Math.min(tokens.length - 1, now + move));
      (isPinned ? onPin : onHover)(next);
    } else if (event.key === "Enter" || event.key === " ") onPin(isPinned ? null : Math.max(0, now));
    else return;
    event.preventDefault();
  };
  return html`<div id=${name} ref=${box} class="text" role="listbox" tabindex="0" aria-label="The text. Left and right go to the next token, up and down by ten, Enter pins it." aria-activedescendant=${current >= 0 ? `${name}-${current}` : undefined}
    onPointerOver=${(/** @type {Event} */ event) => !isPinned && atOf(event) !== null && onHover(atOf(event))} onPointerLeave=${() => !isPinned && onHover(null)}
    onClick=${(/** @type {Event} */ event) => atOf(event) !== null && onPin(isPinned && atOf(event) === current ? null : atOf(event))} onKeyDown=${onKey} onScroll=${tint}>${inside}</div>`;
}

/** Scroll a box, and nothing around it. @param {HTMLElement} box @param {Element} node */
function showInside(box, node) {
  const outer = box.getBoundingClientRect();
  const inner = node.getBoundingClientRect();
  if (inner.top < outer.top || inner.bottom > outer.bottom) box.scrollTop += inner.top - outer.top - outer.height / 3;
}

/** Ink those tokens that are seen: of thousands, the others would take long. @param {HTMLElement} box @param {ArrayLike<number> | null} ink */
function inkSeen(box, ink) {
  const nodes = /** @type {NodeListOf<HTMLElement>} */ (box.querySelectorAll(".token"));
  const { top, bottom } = box.getBoundingClientRect();
  let first = 0;
  for (let last = nodes.length; first < last; ) {
    const middle = (first + last) >> 1;
    if (nodes[middle].getBoundingClientRect().bottom < top) first = middle + 1;
    else last = middle;
  }
  for (let at = first; at < nodes.length; at++) {
    if (nodes[at].getBoundingClientRect().top > bottom) break;
    nodes[at].style.setProperty("--part", ink ? (ink[Number(nodes[at].dataset.at)] || 0).toFixed(2) : "0");
  }
}

/** A token as one sees it: line ends and blanks too. @param {string} text */
export function shownText(text) {
  if (!text) return "∅";
  if (!text.trim()) return text.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣");
  return text.replaceAll("\n", "↵").replaceAll("\t", "⇥");
}

const LONG = 15; // letters of a label

/** A token as a label of an axis. @param {string} text */
export function shortened(text) {
  const letters = [...text.trim()];
  return letters.length > LONG ? `${letters.slice(0, LONG - 1).join("")}…` : letters.join("");
}
