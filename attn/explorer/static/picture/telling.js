import { percent } from "../draw/colours.js";
import { largest } from "../draw/paint.js";
import { labelOf, ranked } from "../parts/readings.js";
import { visible } from "../safe.js";

/** The word whose map says most: the highest peak against its mean. @param {import("../data/trace.js").Group[]} groups @param {import("../sums/sums.js").MapSums | null} sums */
export function telling(groups, sums) {
  const words = groups.filter((group) => group.kind === "word" && group.columns.length);
  const long = words.filter((group) => [...group.text].length > 3);
  const candidates = (long.length ? long : words).slice(0, 64);
  if (!sums || !candidates.length) return candidates[0] ?? groups.find((group) => group.columns.length);
  const peaks = candidates.map((group) => largest(relative(sums.map(group.columns))));
  return candidates[peaks.indexOf(Math.max(...peaks))];
}

/** A map against its own mean. @param {Float64Array} map */
export function relative(map) {
  const mean = map.reduce((sum, value) => sum + value, 0) / map.length || 1;
  return map.map((value) => value / mean);
}

/** Amounts per column of the whole picture where only masses were kept. @param {import("../data/masses.js").Masses} masses @param {import("../data/trace.js").Selection} selection */
export function massColumns(masses, { layers, steps }) {
  const amounts = new Float64Array(Math.max(...masses.groups.flatMap((group) => group.columns), 0) + 1);
  const chosen = masses.net.layers.filter((layer) => !layers || layers.includes(layer.index));
  masses.groups.forEach(({ columns }, at) => {
    if (!columns.length) return;
    const values = chosen
      .map((layer) => masses.mean(layer.index, null, masses.massOf(at), steps))
      .filter((value) => !Number.isNaN(value));
    amounts[columns[0]] = values.reduce((sum, value) => sum + value, 0) / values.length; // none was read: no number
  });
  return amounts;
}

/** @param {import("../data/masses.js").Masses} masses @param {import("../data/trace.js").Group | undefined} current @param {import("../data/trace.js").Group[]} groups @param {string[]} segments */
export function measuresOf(masses, current, groups, segments) {
  const own = [...(masses.steps.values().next().value?.values() ?? [])];
  const at = groups.findIndex((one) => one.id === current?.id);
  const measures =
    current && at >= 0
      ? [
          {
            name: "mass",
            label: `attention to ${labelOf(current, segments)}`,
            value: masses.massOf(at),
            format: percent,
          },
        ]
      : [];
  const all = (/** @type {string} */ segment) =>
    groups.flatMap((group, at) =>
      group.segment === segment &&
      (group.columns.length || masses.groups.every((one) => one.segment !== segment || !one.columns.length))
        ? [masses.massOf(at)]
        : [],
    );
  const sumOf = (/** @type {string} */ segment) => (/** @type {any} */ one, /** @type {number} */ head) =>
    all(segment).reduce((sum, value) => sum + value(one, head), 0);
  const shownWhole = at < 0 ? current?.segment : null;
  if (segments.length > 1)
    measures.push(
      ...[...segments]
        .sort((a, b) => Number(b === shownWhole) - Number(a === shownWhole))
        .map((segment) => ({
          name: segment,
          label: `attention to all of ${visible(segment)}`,
          value: sumOf(segment),
          format: percent,
        })),
    );
  const number = (/** @type {number} */ value) => (Number.isNaN(value) ? "–" : value.toFixed(2));
  if (own.some((one) => one.entropy))
    measures.push({
      name: "entropy",
      label: "entropy of rows, nats",
      value: (one, head) => one.entropy?.[head] ?? NaN,
      format: number,
    });
  for (const part of new Set(own.flatMap((one) => Object.keys(one.gates))))
    measures.push({
      name: `gate.${part}`,
      label: `gate of ${visible(part)}`,
      value: (one, head) => one.gates[part]?.[head] ?? NaN,
      format: number,
    });
  return measures;
}

/** What the live caption says. @param {import("../parts/readings.js").Reading[]} readings @param {string[]} segments @param {import("../parts/readings.js").Order} order @param {string} place */
export function saidOf(readings, segments, order, place) {
  const first = ranked(readings, order).slice(0, 3);
  return `${place}: ${first.map((one) => `${labelOf(one.group, segments)} ${order === "lift" ? `${one.lift.toFixed(2)} ×` : percent(one[order])}`).join(", ")}`;
}
