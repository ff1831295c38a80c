/** Asking for the API key that the operator demands. */

import { el } from "./dom.js";

/**
 * @param {boolean} refused whether a key was given that the API did not take
 * @param {(key: string) => void} use
 */
export function keyForm(refused, use) {
  const input = el("input", {
    type: "password",
    id: "key-input",
    name: "key",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
    "aria-describedby": "key-help",
    "aria-invalid": refused ? "true" : null,
    "data-testid": "key-input",
  });
  const form = el(
    "form",
    { class: "panel key-form", "aria-labelledby": "key-title", "data-testid": "key-form" },
    el("h1", { id: "key-title", tabindex: "-1" }, "An API key is needed"),
    refused ? el("p", { class: "problem", role: "alert" }, "The API did not take this key.") : null,
    el("label", { for: "key-input" }, "API key"),
    el(
      "div",
      { class: "key-row" },
      input,
      el("button", { type: "submit", class: "button accent", "data-testid": "key-submit" }, "Use it"),
    ),
    el(
      "p",
      { class: "muted", id: "key-help" },
      "The operator of this monitor has closed it. The key stays in this tab, until it is closed or you forget it.",
    ),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const value = input.value.trim();
    if (value) use(value);
  });
  return form;
}
