/** Characters that steer: controls, marks of the writing direction, separators, halves of pairs. */
const STEERING =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;

/**
 * Text of strangers with what steers spelled out, as Python's `safe_text.visible` does.
 * @param {unknown} text
 */
export function visible(text) {
  return String(text).replace(STEERING, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A cell of a CSV file: no formula, as Python's `safe_text.csv_cell`. @param {unknown} value */
export function csvCell(value) {
  if (typeof value === "number") return String(value);
  const text = visible(value);
  const safe = /^[=+\-@\t\r]./.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
