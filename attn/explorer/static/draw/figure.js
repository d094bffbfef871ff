import { visible } from "../safe.js";
import { asUrl } from "./export.js";

/**
 * A part of the page as a figure: its canvases, pictures, drawings and captions, where they stand.
 * Captions are the elements of the class `figure-text`.
 */

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
const MARGIN = 8;
const LINE = 19; // pixels of a line of the caption
const LETTER = 7.4; // about
const SHARP = 2; // pixels of a PNG for one of the page

/** A caption in lines of so many letters. @param {string} text @param {number} most */
function folded(text, most) {
  /** @type {string[]} */
  const lines = [];
  for (const word of visible(text).split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + word.length < most) lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

/** @param {string} text */
const escaped = (text) => visible(text).replace(/[&<>"']/g, (one) => `&#${one.charCodeAt(0)};`);

/**
 * @param {HTMLElement} element
 * @param {string} caption  below it
 * @returns {{text: string, width: number, height: number}} SVG
 */
export function figureSvg(element, caption) {
  const box = element.getBoundingClientRect();
  const { backgroundColor, color, fontFamily } = getComputedStyle(document.body);
  const width = Math.ceil(box.width) + 2 * MARGIN;
  const lines = folded(caption, Math.floor((width - 2 * MARGIN) / LETTER));
  const height = Math.ceil(box.height) + 3 * MARGIN + lines.length * LINE;
  const parts = [...element.querySelectorAll("canvas, img, svg, .figure-text")].map((node) => partOf(node, box));
  const font = escaped(fontFamily);
  const below = lines.map((line, at) => {
    const y = Math.ceil(box.height) + 2 * MARGIN + (at + 0.8) * LINE;
    return `<text x="${MARGIN}" y="${y}" font-family="${font}" font-size="14" fill="${color}">${escaped(line)}</text>`;
  });
  const paper = `<rect width="${width}" height="${height}" fill="${backgroundColor}"/>`;
  const text = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">${paper}${parts.join("")}${below.join("")}</svg>`;
  return { text, width, height };
}

/** @param {HTMLElement} element @param {string} caption @returns {Promise<Blob>} */
export async function figurePng(element, caption) {
  const { text, width, height } = figureSvg(element, caption);
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
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture was made"))), "image/png"),
  );
}

/** @param {Element} node @param {DOMRect} figure */
function partOf(node, figure) {
  const box = node.getBoundingClientRect();
  const x = box.left - figure.left + MARGIN;
  const y = box.top - figure.top + MARGIN;
  if (!box.width || !box.height) return "";
  const at = `x="${x}" y="${y}" width="${box.width}" height="${box.height}"`;
  const style = getComputedStyle(node);
  if (node instanceof SVGSVGElement) return drawing(node, at, box);
  if (node instanceof HTMLCanvasElement || node instanceof HTMLImageElement) {
    const how = style.imageRendering === "pixelated" ? "pixelated" : "auto";
    return `<image href="${asUrl(node)}" ${at} preserveAspectRatio="none" opacity="${style.opacity}" style="image-rendering:${how}"/>`;
  }
  const size = parseFloat(style.fontSize);
  const text = (node.textContent ?? "").replace(/\s+/g, " ");
  return `<text x="${x}" y="${y + size}" font-family="${escaped(style.fontFamily)}" font-size="${size}" fill="${style.color}">${escaped(text)}</text>`;
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
