/** The theme: the system's until the person chooses, then theirs, remembered. */

import { icon } from "./dom.js";

const KEY = "minegnk.theme";
const dark = matchMedia("(prefers-color-scheme: dark)");
/** @type {Set<() => void>} */
const listeners = new Set();

/** @returns {"light" | "dark"} */
export function theme() {
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") return chosen;
  return dark.matches ? "dark" : "light";
}

/**
 * Calls back whenever colours change, until the signal aborts.
 * @param {() => void} callback
 * @param {AbortSignal} signal
 */
export function onTheme(callback, signal) {
  listeners.add(callback);
  signal.addEventListener("abort", () => listeners.delete(callback));
}

/** @param {HTMLElement} button */
export function bindThemeToggle(button) {
  const show = () => {
    const next = theme() === "dark" ? "light" : "dark";
    button.replaceChildren(icon(next === "light" ? "sun" : "moon"));
    button.setAttribute("aria-label", `Use the ${next} theme`);
    button.title = `Use the ${next} theme`;
    for (const listener of listeners) listener();
  };
  button.addEventListener("click", () => {
    const next = theme() === "dark" ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    try {
      localStorage.setItem(KEY, next);
    } catch {
      // Not remembered then.
    }
    show();
  });
  dark.addEventListener("change", show);
  show();
}
