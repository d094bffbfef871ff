import { visible } from "../safe.js";

/**
 * A part of the page as a figure, on the page's own paper: its canvases, pictures, drawings, frames and texts, where they
 * stand. Texts are the elements of the class `figure-text`, boxes of a colour those of the class `figure-box`.
 *
 * @typedef {object} Words  of a figure
 * @property {string[]} title   lines above it, the first of them in bold
 * @property {string} [caption] below it
 *
 * @typedef {{left: number, top: number}} Origin  of a figure, on the page
 */

const PARTS = "canvas, img, svg, .cursor, .figure-box, .figure-text";
const STYLES = [
  "fill",
  "fill-opacity",
  "stroke",
  "stroke-width",
  "stroke-dasharray",
  "stroke-opacity",
  "opacity",
  "font-size",
  "font-family",
  "font-weight",
  "text-anchor",
  "dominant-baseline",
]; // prettier-ignore
const MARGIN = 12;
const LINE = 19; // pixels of a line of text
const SIZE = 14; // of a letter
const LEAST = 320; // pixels of a line of text, however narrow the figure is
const SHARP = 2; // pixels of a PNG for one of the page

/** @param {string} text */
const escaped = (text) => visible(text).replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);

/**
 * @param {HTMLElement} element
 * @param {Words} words
 * @returns {{text: string, width: number, height: number}} SVG
 */
export function figureSvg(element, { title, caption = "" }) {
  const { backgroundColor, color, fontFamily } = getComputedStyle(document.body);
  const nodes = [...element.querySelectorAll(PARTS)].filter(isSeen);
  const box = boundsOf(nodes);
  const wide = Math.max(LEAST, Math.ceil(box.right - box.left));
  const lines = (/** @type {string} */ text, /** @type {number} */ weight) =>
    folded(text, `${weight} ${SIZE}px ${fontFamily}`, wide).map((line) => ({ line, weight }));
  const above = title.filter(Boolean).flatMap((text, at) => lines(text, at ? 400 : 600));
  const below = lines(caption, 400);
  const top = MARGIN + above.length * LINE + 6;
  const under = top + Math.ceil(box.bottom - box.top) + 6;
  const [width, height] = [wide + 2 * MARGIN, under + below.length * LINE + MARGIN];
  const write =
    (/** @type {number} */ start) =>
    (/** @type {{line: string, weight: number}} */ { line, weight }, at = 0) =>
      `<text x="${MARGIN}" y="${start + at * LINE + SIZE}" font-family="${escaped(fontFamily)}" font-size="${SIZE}" font-weight="${weight}" fill="${color}">${escaped(line)}</text>`;
  const origin = { left: box.left - MARGIN, top: box.top - top };
  const parts = [...above.map(write(MARGIN)), ...nodes.map((node) => partOf(node, origin)), ...below.map(write(under))];
  const paper = `<rect width="${width}" height="${height}" fill="${backgroundColor}"/>`;
  const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${paper}${parts.join("")}</svg>`;
  return { text: text.replace(/[\ufffe\uffff]/g, "\ufffd"), width, height }; // no XML may have those
}

/** @param {HTMLElement} element @param {Words} words @returns {Promise<Blob>} */
export async function figurePng(element, words) {
  const { text, width, height } = figureSvg(element, words);
  const image = new Image();
  const url = URL.createObjectURL(new Blob([text], { type: "image/svg+xml" }));
  image.src = url;
  await image.decode();
  URL.revokeObjectURL(url);
  const canvas = Object.assign(document.createElement("canvas"), { width: SHARP * width, height: SHARP * height });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.imageSmoothingEnabled = false;
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no image was made"))), "image/png"),
  );
}

/** @param {Element} node */
function isSeen(node) {
  const { width, height } = node.getBoundingClientRect();
  return width > 0 && height > 0;
}

/** What of the page some nodes cover. @param {Element[]} nodes */
function boundsOf(nodes) {
  const boxes = nodes.map((node) => node.getBoundingClientRect());
  return {
    left: Math.min(...boxes.map((box) => box.left)),
    top: Math.min(...boxes.map((box) => box.top)),
    right: Math.max(...boxes.map((box) => box.right)),
    bottom: Math.max(...boxes.map((box) => box.bottom)),
  };
}

const RULER = /** @type {CanvasRenderingContext2D | null} */ (
  typeof document === "undefined" ? null : document.createElement("canvas").getContext("2d")
);

/** How a text in a font is set. @param {string} text @param {string} font */
function measured(text, font) {
  if (!RULER) throw new Error("no text can be measured here");
  RULER.font = font;
  return RULER.measureText(text);
}

/** A text in lines of so many pixels. @param {string} text @param {string} font @param {number} most */
function folded(text, font, most) {
  /** @type {string[]} */
  const lines = [];
  for (const word of visible(text).split(/\s+/).filter(Boolean)) {
    const longer = `${lines.at(-1)} ${word}`;
    if (lines.length && measured(longer, font).width <= most) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

/** @param {Element} node @param {Origin} origin @returns {string} */
function partOf(node, origin) {
  const box = node.getBoundingClientRect();
  const style = getComputedStyle(node);
  const [x, y] = [box.left - origin.left, box.top - origin.top];
  const at = `x="${x}" y="${y}" width="${box.width}" height="${box.height}"`;
  if (node instanceof SVGSVGElement) return drawing(node, at, box);
  if (node instanceof HTMLCanvasElement || node instanceof HTMLImageElement) return picture(node, style, at);
  if (node.matches(".cursor")) return frame(x, y, box, style.borderTopColor);
  if (node.matches(".figure-box")) return `<rect ${at} fill="${style.backgroundColor}"/>`;
  return written(/** @type {HTMLElement} */ (node), style, origin);
}

/** @param {HTMLCanvasElement | HTMLImageElement} node @param {CSSStyleDeclaration} style @param {string} at */
function picture(node, style, at) {
  const how = style.imageRendering === "pixelated" ? "pixelated" : "auto";
  const ground = /^rgb\(/.test(style.backgroundColor) ? `<rect ${at} fill="${style.backgroundColor}"/>` : "";
  return `${ground}<image href="${asUrl(node)}" ${at} preserveAspectRatio="none" opacity="${style.opacity}" style="image-rendering:${how};mix-blend-mode:${style.mixBlendMode}"/>`;
}

/** The frame of a place, with a dark line on both sides, as `.cursor` has it. @param {number} x @param {number} y @param {DOMRect} box @param {string} colour */
function frame(x, y, { width, height }, colour) {
  const line = (/** @type {number} */ inwards, /** @type {string} */ stroke, /** @type {number} */ wide) =>
    `<rect x="${x + inwards}" y="${y + inwards}" width="${Math.max(0, width - 2 * inwards)}" height="${Math.max(0, height - 2 * inwards)}" fill="none" stroke="${stroke}" stroke-width="${wide}"/>`;
  return line(-1, "#000", 2) + line(1, colour, 2) + line(2.5, "#000", 1);
}

/** A text where its letters stand; cut where the page cuts it. @param {HTMLElement} node @param {CSSStyleDeclaration} style @param {Origin} origin */
function written(node, style, origin) {
  const range = document.createRange();
  range.selectNodeContents(node);
  const box = range.getBoundingClientRect();
  const { fontBoundingBoxAscent: up, fontBoundingBoxDescent: down } = measured(
    "x",
    `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`,
  ); // prettier-ignore
  const all = (node.textContent ?? "").replace(/\s+/g, " ").trim();
  const isCut = node.clientWidth > 0 && node.scrollWidth > node.clientWidth + 1;
  const text = isCut ? `${all.slice(0, Math.floor((all.length * node.clientWidth) / node.scrollWidth) - 1)}…` : all;
  const y = box.top - origin.top + (box.height + up - down) / 2;
  return `<text x="${box.left - origin.left}" y="${y}" font-family="${escaped(style.fontFamily)}" font-size="${parseFloat(style.fontSize)}" font-weight="${style.fontWeight}" fill="${style.color}">${escaped(text)}</text>`;
}

/** A drawing with the styles that the page gives it. @param {SVGSVGElement} node @param {string} at @param {DOMRect} box */
function drawing(node, at, box) {
  const copy = /** @type {SVGSVGElement} */ (node.cloneNode(true));
  const originals = [node, ...node.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((element, place) => {
    const style = getComputedStyle(originals[place]);
    for (const name of STYLES) element.setAttribute(name, style.getPropertyValue(name));
    for (const name of ["class", "style", "id"]) element.removeAttribute(name);
  });
  const view = node.getAttribute("viewBox") ?? `0 0 ${box.width} ${box.height}`;
  const inside = new XMLSerializer()
    .serializeToString(copy)
    .replace(/^<svg[^>]*>/, "")
    .replace(/<\/svg>$/, "");
  return copy.childNodes.length ? `<svg ${at} viewBox="${view}" preserveAspectRatio="none">${inside}</svg>` : "";
}

/** A picture as it is shown, with its filter, as a data URL. @param {HTMLImageElement | HTMLCanvasElement} node */
function asUrl(node) {
  if (node instanceof HTMLCanvasElement) return node.toDataURL("image/png");
  const canvas = Object.assign(document.createElement("canvas"), {
    width: node.naturalWidth,
    height: node.naturalHeight,
  });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.filter = getComputedStyle(node).filter;
  context.drawImage(node, 0, 0);
  return canvas.toDataURL("image/png");
}
