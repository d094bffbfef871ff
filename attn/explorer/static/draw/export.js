import { csvCell, visible } from "../safe.js";

/** Files, which are made here and saved by the browser; nothing is sent. */

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
