import { showIndex } from "./listing.js";
import { visible } from "./safe.js";
import { SCREENS } from "./screens.js";
import { HttpSource } from "./source.js";
import { State } from "./state.js";
import { html, render } from "./vendor/preact.js";

/** Open the index, and hand one item at a time to its screen. */
const root = /** @type {HTMLElement} */ (document.getElementById("screen"));
const top = /** @type {HTMLElement} */ (document.getElementById("top"));
const state = new State(window);
let shown = "";
/** @type {() => void} */
let close = () => {};

/** @param {any} item */
async function open(item) {
  close();
  close = () => {};
  root.replaceChildren();
  try {
    const source = new HttpSource(new URL(`t/${item.id}/`, document.baseURI).href);
    const facts = await source.json("trace.json");
    const screen = SCREENS[facts.screen];
    if (!screen) throw new Error(`this version of the page has no screen for '${facts.screen}'`);
    document.title = `${visible(item.label)} · attn`;
    close = await screen(root, { id: item.id, label: item.label, facts, source }, state);
  } catch (error) {
    showError(/** @type {Error} */ (error));
  }
  document.body.dataset.ready = item.id;
}

/** @param {Error} error */
export function showError(error) {
  render(html`<p class="error" role="alert">${visible(error.message)}</p>`, root);
}

/** @param {any[]} items @param {any} chosen */
function navigate(items, chosen) {
  const label = html`<span class="label"><bdi>${visible(chosen.label)}</bdi></span>`;
  const all = html`<a href="#">All ${items.length}</a>`;
  render(
    html`<span class="brand">attn</span>${items.length > 1 && chosen !== INDEX ? all : ""}${label}
    <button onClick=${() => window.dispatchEvent(new Event("show-keys"))}>Keys <kbd>?</kbd></button>`,
    top,
  );
}

/** The list of all. */
const INDEX = { id: "index", label: "" };

/** @param {any} listed */
async function openIndex(listed) {
  close();
  document.title = "attn";
  close = await showIndex(root, { ...INDEX, facts: listed, source: new HttpSource("") }, state);
  document.body.dataset.ready = INDEX.id;
}

async function start() {
  const listed = await new HttpSource("").json("index.json");
  const { items, failures } = listed;
  const only = items.length + failures.length === 1 ? items[0] : INDEX;
  const choose = () => {
    const item = items.find((/** @type {any} */ row) => row.id === state.get("t")) ?? only;
    if (item.id === shown) return;
    shown = item.id;
    navigate(items, item);
    void (item === INDEX ? openIndex(listed) : open(item));
  };
  state.on(choose);
  choose();
}

start().catch(showError);
