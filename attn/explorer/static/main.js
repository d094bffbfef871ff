import { Listed } from "./data/listed.js";
import { openSource } from "./data/source.js";
import { showIndex } from "./listing.js";
import { visible } from "./safe.js";
import { SCREENS } from "./screens.js";
import { MOST_SIDES, showSides } from "./sides/sides.js";
import { showTextSides } from "./sides/text-sides.js";
import { State } from "./state.js";
import { html, render } from "./vendor/preact.js";

/** Open the index, and hand one item at a time to its screen. */
const root = /** @type {HTMLElement} */ (document.getElementById("screen"));
const top = /** @type {HTMLElement} */ (document.getElementById("top"));
const strayed = /** @type {HTMLElement} */ (document.getElementById("strays"));
const state = new State(window);
let shown = "";
/** @type {() => void} */
let close = () => {};

/** @param {any} item @returns {Promise<import("./screens.js").Item>} */
async function readItem(item) {
  const source = openSource(`t/${item.id}/`);
  return { id: item.id, label: item.label, facts: await source.json("trace.json"), source };
}

/** One item in its screen, or several side by side. @param {any[]} chosen */
async function open(chosen) {
  close();
  close = () => {};
  root.replaceChildren();
  try {
    const items = await Promise.all(chosen.map(readItem));
    if (shown !== idOf(chosen)) return; // something else was opened meanwhile
    document.title = `${chosen.map((item) => visible(item.label)).join(", ")} · attn`;
    close = await (items.length > 1 ? sidesOf(items)(root, items, state) : screenOf(items[0])(root, items[0], state));
  } catch (error) {
    if (shown !== idOf(chosen)) return;
    showError(/** @type {Error} */ (error));
  }
  document.body.dataset.ready = idOf(chosen);
}

/** @param {import("./screens.js").Item} item */
function screenOf({ facts }) {
  const screen = SCREENS[facts.screen];
  if (!screen) throw new Error(`this version of the page has no screen for '${facts.screen}'`);
  return screen;
}

/** @param {import("./screens.js").Item[]} items */
const sidesOf = (items) => (items.every(({ facts }) => facts.screen === "text") ? showTextSides : showSides);

/** @param {any[]} chosen */
const idOf = (chosen) => chosen.map((item) => item.id).join(",");

/** @param {Error} error */
export function showError(error) {
  render(html`<p class="error" role="alert">${visible(error.message)}</p>`, root);
}

/** @param {Listed} listed @param {any[]} chosen */
function navigate({ items, isWhole }, chosen) {
  const labels = chosen.map((item) => html`<span class="label"><bdi>${visible(item.label)}</bdi></span>`);
  const all = html`<a href=${`#t=${INDEX.id}`}>All${isWhole ? ` ${items.length}` : ""}</a>`;
  render(
    html`<span class="brand">attn</span>${items.length > 1 && chosen[0] !== INDEX ? all : ""}${labels}
    <button onClick=${() => window.dispatchEvent(new Event("show-keys"))}>Keys <kbd>?</kbd></button>`,
    top,
  );
}

/** The list of all. */
const INDEX = { id: "index", label: "" };

/** @param {Listed} listed */
async function openIndex(listed) {
  close();
  document.title = "attn";
  close = await showIndex(root, { ...INDEX, facts: listed, source: listed.source }, state);
}

/** What things of the address are called. @type {Record<string, string>} */
const NAMES_IN_ADDRESS = {
  t: "trace",
  steps: "step",
  layers: "layer",
  heads: "head",
  pins: "word",
  at: "token",
  spot: "place",
  branch: "guidance row",
  sample: "image",
  tower: "network",
  sort: "order",
};

/** Say what the address asks for and is not here. */
function showStrays() {
  const strays = [...state.strays].map(([key, parts]) => {
    const name = key.slice(0, key.indexOf(" "));
    return `${NAMES_IN_ADDRESS[name] ?? name} ${parts.join(", ")}`;
  });
  const text = `The address asks for what is not here: ${[...new Set(strays)].join("; ")}.`;
  render(strays.length ? html`<p class="notices"><bdi>${visible(text)}</bdi></p>` : null, strayed);
}

/** What is to be looked at; null while that is not known. @param {Listed} listed @returns {any[] | null} */
function chosenOf({ items, failures, beside, isWhole }) {
  const only = items.length + failures.length === 1 ? items.map((row) => row.id) : beside;
  const ids = state.get("t") ? state.get("t").split(",") : only;
  const found = items.filter((row) => ids.includes(row.id ?? "")).slice(0, MOST_SIDES);
  if (isWhole) sayMissing(items);
  if (found.length && (isWhole || (state.get("t") && found.length === Math.min(ids.length, MOST_SIDES)))) return found;
  const isMany = items.length > MOST_SIDES && (!state.get("t") || ids.includes(INDEX.id));
  return isWhole || isMany ? [INDEX] : null;
}

/** Keep which traces of the address are not in the list. @param {import("./data/listed.js").Row[]} items */
function sayMissing(items) {
  const ids = new Set([INDEX.id, ...items.map((row) => row.id)]);
  state.read("t", (text, refuse) => {
    for (const id of text.split(",")) if (!ids.has(id)) refuse(id);
    return text;
  });
}

async function start() {
  const listed = new Listed(openSource(""));
  const choose = () => {
    const chosen = chosenOf(listed);
    if (!chosen) return;
    navigate(listed, chosen);
    if (idOf(chosen) !== shown) {
      shown = idOf(chosen);
      void (chosen[0] === INDEX ? openIndex(listed) : open(chosen));
    }
    if (chosen[0] === INDEX && listed.isWhole) document.body.dataset.ready = INDEX.id;
  };
  state.on(choose);
  state.on(showStrays);
  listed.on(choose);
  await listed.read();
}

/** Links inside the page: where it has no address of its own they would lead out of it. */
document.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest("a[href]")?.getAttribute("href") ?? "";
  if (link !== "#" && !link.startsWith("#t=")) return;
  if (event.ctrlKey || event.metaKey || event.shiftKey) return; // another tab
  event.preventDefault();
  state.go(link);
});

start().catch(showError);
