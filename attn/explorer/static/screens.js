import { showComparison } from "./comparison/comparison.js";
import { showPicture } from "./picture/picture.js";
import { showText } from "./text/text.js";

/**
 * @typedef {{id: string, label: string, facts: any, source: import("./data/source.js").Source}} Item
 * @typedef {(root: HTMLElement, item: Item, state: import("./state.js").State) => Promise<() => void>} Screen
 */

/** Which screen shows what, by the name that `index.json` and `trace.json` give. @type {Record<string, Screen>} */
export const SCREENS = { picture: showPicture, text: showText, comparison: showComparison };
