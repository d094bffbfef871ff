/** Colours of amounts: inferno, ordered in lightness, readable without red and green. */
const ANCHORS = [
  [0, 0, 4],
  [27, 12, 65],
  [74, 12, 107],
  [120, 28, 109],
  [165, 44, 96],
  [207, 68, 70],
  [237, 105, 37],
  [251, 155, 6],
  [247, 209, 61],
  [252, 255, 164],
];
export const INFERNO = scaleOf(ANCHORS);

/** Blue over white to orange, for differences. */
export const DIFFERENCE = scaleOf([
  [8, 48, 107],
  [66, 146, 198],
  [222, 235, 247],
  [247, 247, 247],
  [253, 224, 200],
  [230, 130, 50],
  [127, 59, 8],
]);

/** Okabe and Ito's colours for pinned words. */
export const PINNED = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#999999"];

/** @param {number[][]} anchors @returns {Uint8ClampedArray} (256 · 3) */
function scaleOf(anchors) {
  const table = new Uint8ClampedArray(256 * 3);
  for (let i = 0; i < 256; i++) {
    const place = (i / 255) * (anchors.length - 1);
    const low = Math.min(anchors.length - 2, Math.floor(place));
    for (let c = 0; c < 3; c++)
      table[3 * i + c] = anchors[low][c] + (anchors[low + 1][c] - anchors[low][c]) * (place - low);
  }
  return table;
}

/** @param {string} colour as `#rrggbb` */
export function rgb(colour) {
  return [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
}

/** An amount between 0 and 1, for people. @param {number} value */
export function percent(value) {
  if (Number.isNaN(value)) return "–";
  const shown = 100 * value;
  if (shown === 0) return "0 %";
  if (shown < 0.001) return "< 0.001 %";
  return `${shown >= 9.995 ? shown.toFixed(1) : shown >= 0.0995 ? shown.toFixed(2) : shown.toFixed(3)} %`;
}
