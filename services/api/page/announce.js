/** Telling screen readers of changes, politely: at most one sentence every few seconds. */

import { plural } from "./format.js";
import { atMostEvery } from "./pace.js";

const EVERY_MS = 4000;
const region = /** @type {HTMLElement} */ (document.getElementById("announcer"));

/** @type {string[]} */
let sentences = [];
/** @type {Map<string, string>} */
const changed = new Map();

const speak = atMostEvery(() => {
  const said = sentences;
  sentences = [];
  if (changed.size > 3) said.push(`${plural(changed.size, "node")} changed status.`);
  else said.push(...changed.values());
  changed.clear();
  if (said.length) region.textContent = said.join(" ");
}, EVERY_MS);

/** @param {string} sentence */
export function announce(sentence) {
  if (sentences.at(-1) !== sentence) sentences.push(sentence);
  speak();
}

/**
 * Several changes are told as one.
 * @param {string} identifier
 * @param {string} name
 * @param {string} status
 */
export function announceStatus(identifier, name, status) {
  changed.set(identifier, `${name} is now ${status}.`);
  speak();
}
