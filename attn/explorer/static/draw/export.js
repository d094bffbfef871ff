import { csvCell, visible } from "../safe.js";

/** What is seen, as files. All of them are made here and saved by the browser; nothing is sent. */

/** @param {string} name @param {Blob} content */
export function save(name, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A name for a file. @param {string} text */
export function fileName(text) {
  return (
    visible(text)
      .replace(/[^\p{L}\p{N}._-]+/gu, "-")
      .replace(/^[-.]+|-+$/g, "")
      .slice(0, 80) || "attn"
  );
}

/** @param {string[]} head @param {(string | number)[][]} rows */
export function toCsv(head, rows) {
  const lines = [head, ...rows].map((row) => `${row.map(csvCell).join(",")}\n`);
  return new Blob(lines, { type: "text/csv" });
}

/**
 * The stage as one picture: what lies over each other there, with its caption.
 * @param {HTMLElement} stage
 * @param {string} caption
 * @returns {Promise<Blob>} PNG
 */
export async function toPng(stage, caption) {
  const { layers, width, height } = layersOf(stage);
  const canvas = Object.assign(document.createElement("canvas"), { width, height: height + 40 });
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height + 40);
  for (const { node, smooth, filter, alpha } of layers) {
    Object.assign(context, { imageSmoothingEnabled: smooth, filter, globalAlpha: alpha });
    context.drawImage(node, 0, 0, width, height);
  }
  Object.assign(context, { filter: "none", globalAlpha: 1, fillStyle: "#1a1a1a", font: "15px sans-serif" });
  context.fillText(caption, 8, height + 26, width - 16);
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture was made"))), "image/png"),
  );
}

/** @param {HTMLElement} stage @param {string} caption @returns {Blob} SVG, its map with a pixel for a cell */
export function toSvg(stage, caption) {
  const { layers, width, height } = layersOf(stage);
  const escaped = (/** @type {string} */ text) => text.replace(/[&<>"]/g, (one) => `&#${one.charCodeAt(0)};`);
  const images = layers.map(
    ({ node, smooth, alpha }) =>
      `<image href="${asUrl(node)}" width="${width}" height="${height}" preserveAspectRatio="none" opacity="${alpha}" style="image-rendering:${smooth ? "auto" : "pixelated"}"/>`,
  );
  const text = `<text x="8" y="${height + 26}" font-family="sans-serif" font-size="15">${escaped(visible(caption))}</text>`;
  return new Blob(
    [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height + 40}">${images.join("")}${text}</svg>`],
    { type: "image/svg+xml" },
  );
}

/** @param {HTMLElement} stage */
function layersOf(stage) {
  const nodes = /** @type {(HTMLImageElement | HTMLCanvasElement)[]} */ ([...stage.querySelectorAll("img, canvas")]);
  const box = stage.getBoundingClientRect();
  const scale = Math.max(1, 1024 / box.width);
  const layers = nodes.map((node) => {
    const style = getComputedStyle(node);
    return { node, smooth: style.imageRendering === "auto", filter: style.filter, alpha: Number(style.opacity) };
  });
  return { layers, width: Math.round(box.width * scale), height: Math.round(box.height * scale) };
}

/** A picture as it is shown, with its filter, as a data URL. @param {HTMLImageElement | HTMLCanvasElement} node */
export function asUrl(node) {
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
