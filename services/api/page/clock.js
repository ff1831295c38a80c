/** The server's time, and ages that tick by it. */

import { el } from "./dom.js";
import { ago, time } from "./format.js";

let ahead = 0;

/** @param {string} asOf the time at which an answer was read */
export function noteServerTime(asOf) {
  ahead = Date.parse(asOf) - Date.now();
}

/** Milliseconds since 1970 by the server's clock. */
export const now = () => Date.now() + ahead;

/** @param {string} moment */
export const ageOf = (moment) => Math.max(0, (now() - Date.parse(moment)) / 1000);

/**
 * "2 min ago", ticking.
 * @param {string} moment
 * @param {string} [before] words before it
 */
export function age(moment, before = "") {
  return el("time", { datetime: moment, title: time(moment), "data-age": before }, before + ago(ageOf(moment)));
}

/** @type {Set<() => void>} */
const tickers = new Set();

/**
 * Calls back every second while the page is visible.
 * @param {() => void} callback
 */
export const everySecond = (callback) => void tickers.add(callback);

setInterval(() => {
  if (document.hidden) return;
  for (const node of /** @type {NodeListOf<HTMLTimeElement>} */ (document.querySelectorAll("time[data-age]"))) {
    const text = node.dataset.age + ago(ageOf(node.dateTime));
    if (node.textContent !== text) node.textContent = text;
  }
  for (const ticker of tickers) ticker();
}, 1000);
