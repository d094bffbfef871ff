import { html, render } from "./vendor/preact.js";
import { visible } from "./safe.js";
import { SCREENS } from "./screens.js";
import { HttpSource } from "./source.js";
import { State } from "./state.js";

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
  const choose = (/** @type {any} */ item) => state.set(fresh(item.id));
  const list = html`<label>Trace <select onChange=${(/** @type {any} */ event) => choose(items[event.target.selectedIndex])}>
    ${items.map((item) => html`<option selected=${item.id === chosen.id}>${visible(item.label)} ${item.status === "partial" ? "(partial)" : ""}</option>`)}
  </select></label>`;
  render(html`<span class="brand">attn</span>${items.length > 1 ? list : html`<span class="label"><bdi>${visible(chosen.label)}</bdi></span>`}
    <button onClick=${() => window.dispatchEvent(new Event("show-keys"))}>Keys <kbd>?</kbd></button>`, top);
}

/** What is kept of the address when another item is opened. @param {string} id */
function fresh(id) {
  /** @type {Record<string, string | null>} */
  const changes = Object.fromEntries([...state.values.keys()].map((name) => [name, null]));
  return { ...changes, t: id };
}

async function start() {
  const { items } = await new HttpSource("").json("index.json");
  const choose = () => {
    const item = items.find((/** @type {any} */ one) => one.id === state.get("t")) ?? items[0];
    if (item.id === shown) return;
    shown = item.id;
    navigate(items, item);
    void open(item);
  };
  state.on(choose);
  choose();
}

start().catch(showError);
