/** Small parts that every view uses. */

import { key, save } from "./api.js";
import { announce } from "./announce.js";
import { el, icon, sr, svg, unknown } from "./dom.js";
import { exact, percent, rounded, signedPercent } from "./format.js";

/**
 * An amount, rounded for the eye with all its digits in the title; or the mark of the unknown.
 * @param {string | null} gnk
 * @param {number} [places] all of them if left out
 */
export function amount(gnk, places) {
  if (gnk === null) return unknown();
  const all = exact(gnk);
  const text = places === undefined ? all : rounded(gnk, places);
  return el("data", { value: gnk, class: "num", title: text === all ? null : `${all} GNK` }, text);
}

/** @param {number | null} value @param {number} [places] */
export const share = (value, places) =>
  value === null ? unknown() : el("span", { class: "num" }, percent(value, places));

/**
 * The change against the window before.
 * @param {import("./types.js").Window} span
 * @param {string} [than]
 */
export function change(span, than = "") {
  const value = span.change_percent;
  if (span.change_gnk === null || value === null) {
    return el(
      "span",
      { class: "change", title: "not known" },
      el("span", { "aria-hidden": "true" }, `– ${than}`),
      sr(`change ${than} not known`),
    );
  }
  const direction = value > 0.05 ? "up" : value < -0.05 ? "down" : "flat";
  const d = { up: "m1.5 7.5 4.5-5 4.5 5Z", down: "m1.5 3.5 4.5 5 4.5-5Z", flat: "M1.5 5h9v2h-9Z" }[direction];
  const arrow = svg("svg", { class: "shape", viewBox: "0 0 12 12", "aria-hidden": "true" }, svg("path", { d }));
  return el(
    "span",
    { class: `change c-${direction}`, title: `${exact(span.change_gnk)} GNK` },
    arrow,
    el("span", { class: "num" }, signedPercent(value)),
    than && el("span", { class: "than" }, than),
  );
}

/**
 * A button that copies.
 * @param {string} text
 * @param {string} what for its name: "address of …"
 */
export function copyButton(text, what) {
  const button = el(
    "button",
    { type: "button", class: "button quiet icon copy", "aria-label": `Copy ${what}`, title: `Copy ${text}` },
    icon("copy"),
  );
  button.addEventListener("click", async (event) => {
    event.stopPropagation();
    const done = await copy(text);
    announce(done ? "Copied." : "Copying is not allowed here.");
    button.replaceChildren(icon(done ? "check" : "copy"));
    button.classList.toggle("done", done);
    setTimeout(() => (button.replaceChildren(icon("copy")), button.classList.remove("done")), 1500);
  });
  return button;
}

/** @param {string} text */
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without HTTPS there is no clipboard: the old way.
  }
  const field = el("textarea", { class: "sr", readonly: true, "aria-hidden": "true" });
  field.value = text;
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  focused?.focus();
  return done;
}

/**
 * A link to a CSV; with a key in use it is fetched, as a link cannot send the key.
 * @param {string} address
 * @param {string} name the file's
 * @param {string} [label]
 */
export function csvLink(address, name, label = "CSV") {
  const link = el(
    "a",
    { class: "button", href: address, download: name, "data-testid": "csv" },
    icon("download"),
    label,
  );
  link.addEventListener("click", (event) => {
    if (key() === null) return;
    event.preventDefault();
    save(link.href, name).catch((error) => announce(error.message));
  });
  return link;
}

/**
 * Buttons of which one is chosen.
 * @param {string} label
 * @param {[value: string, text: string][]} choices
 * @param {string} chosen
 * @param {(value: string) => void} choose
 */
export function segments(label, choices, chosen, choose) {
  const group = el("div", { class: "segments", role: "group", "aria-label": label });
  for (const [value, text] of choices) {
    const button = el(
      "button",
      { type: "button", "aria-pressed": String(value === chosen), "data-value": value },
      text,
    );
    button.addEventListener("click", () => {
      for (const other of group.children) other.setAttribute("aria-pressed", String(other === button));
      choose(value);
    });
    group.append(button);
  }
  return group;
}

/**
 * What to show when something cannot be had.
 * @param {unknown} error
 * @param {() => void} again
 */
export function failure(error, again) {
  const text = error instanceof Error ? error.message : "Something went wrong.";
  return el(
    "div",
    { class: "empty", "data-testid": "failure" },
    el("p", null, text),
    el("button", { type: "button", class: "button", click: again }, "Try again"),
  );
}

/**
 * What the marks of a chart mean.
 * @param {[mark: string, meaning: string][]} keys
 */
export const legendOf = (keys) =>
  el(
    "p",
    { class: "legend" },
    ...keys.map(([mark, meaning]) => el("span", null, el("span", { class: `key k-${mark}` }), meaning)),
  );

/**
 * Says the roles of a table's parts aloud: with another display, as on a telephone, some browsers forget them.
 * @template {HTMLElement} T
 * @param {T} table or a part of it
 */
export function withRoles(table) {
  const roles = {
    table: "table",
    thead: "rowgroup",
    tbody: "rowgroup",
    tr: "row",
    td: "cell",
    'th[scope="row"]': "rowheader",
    'th[scope="col"]': "columnheader",
  };
  for (const [selector, role] of Object.entries(roles)) {
    if (table.matches(selector)) table.setAttribute("role", role);
    for (const part of table.querySelectorAll(selector)) part.setAttribute("role", role);
  }
  return table;
}

/**
 * What may be wider than its place, and is scrolled then, also by keyboard.
 * @param {string} label
 * @param {...Node} children
 */
export const scroller = (label, ...children) =>
  el("div", { class: "scroll", role: "group", "aria-label": label, tabindex: "0" }, ...children);
