/** The states of nodes and sources: always a word and a shape, with colour on top. */

import { el, svg } from "./dom.js";

/** @type {Record<string, [tag: string, attributes: Record<string, string>][]>} */
const SHAPES = {
  circle: [["circle", { cx: "6", cy: "6", r: "4.5" }]],
  triangle: [["path", { d: "M6 1.2 11.3 10.6H.7Z" }]],
  bars: [["path", { d: "M1.5 1.5h2v9h-2zM5 1.5h2v9H5zM8.5 1.5h2v9h-2z" }]],
  cross: [["path", { d: "m2 2 8 8M10 2l-8 8", class: "line" }]],
  ring: [["circle", { cx: "6", cy: "6", r: "4", class: "line dashed" }]],
  half: [
    ["path", { d: "M6 1.5a4.5 4.5 0 0 1 0 9Z" }],
    ["circle", { cx: "6", cy: "6", r: "4.1", class: "line thin" }],
  ],
  pause: [["path", { d: "M2.5 2h2.4v8H2.5zM7.1 2h2.4v8H7.1z" }]],
};

/** @type {Record<string, string>} */
const SHAPE_OF = {
  healthy: "circle",
  unhealthy: "triangle",
  jailed: "bars",
  offline: "cross",
  unknown: "ring",
  ok: "circle",
  stale: "half",
  failing: "cross",
  silent: "pause",
};

/** The states of nodes, the best first. */
export const STATUSES = /** @type {const} */ (["healthy", "unhealthy", "jailed", "offline"]);

/** The states of sources, the best first. */
export const SOURCE_STATES = /** @type {const} */ (["ok", "stale", "failing", "silent", "unknown"]);

/** @param {string} state */
export function shape(state) {
  const parts = SHAPES[SHAPE_OF[state] ?? "ring"].map(([tag, attributes]) => svg(tag, attributes));
  return svg(
    "svg",
    { class: `shape s-${state}`, viewBox: "0 0 12 12", "aria-hidden": "true", focusable: "false" },
    ...parts,
  );
}

/**
 * A state's shape and word.
 * @param {string | null} state null: not known
 */
export function badge(state) {
  const word = state ?? "unknown";
  return el("span", { class: `state s-${word}`, "data-state": word }, shape(word), word);
}

/**
 * A small label, such as "estimate".
 * @param {string} word
 * @param {"plain" | "good" | "warn" | "bad" | "accent"} [tone]
 * @param {string} [title]
 */
export const tag = (word, tone = "plain", title) => el("span", { class: `tag t-${tone}`, title }, word);
