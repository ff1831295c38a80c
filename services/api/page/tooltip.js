/** A box with a few lines beside a point of its host. */

import { el } from "./dom.js";

export class Tooltip {
  /** @param {HTMLElement} host is positioned */
  constructor(host) {
    this.host = host;
    this.box = el("div", { class: "tooltip", "aria-hidden": "true", hidden: true, "data-testid": "tooltip" });
    host.append(this.box);
  }

  /**
   * @param {number} x from the host's left
   * @param {number} y from its top
   * @param {string[]} lines the first one stands out
   */
  show(x, y, lines) {
    this.box.replaceChildren(...lines.map((line) => el("div", null, line)));
    this.box.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = this.box;
    const left = x + 12 + width > this.host.clientWidth ? x - 12 - width : x + 12;
    const top = Math.max(-8, y - height - 8);
    this.box.style.transform = `translate(${Math.round(Math.max(0, left))}px, ${Math.round(top)}px)`;
  }

  hide() {
    this.box.hidden = true;
  }
}

/**
 * Makes an element something to step through with the arrow keys; screen readers hear each step.
 * @param {HTMLElement} node
 * @param {{
 *   label: string, count: () => number, at: () => number, step: (index: number) => void, text: (index: number) => string,
 *   keys?: Record<string, number>, leave: () => void
 * }} hooks `keys` are more keys, and by how much they move
 */
export function steppable(node, hooks) {
  const tell = () => {
    const last = Math.max(0, hooks.count() - 1);
    const at = Math.min(last, Math.max(0, hooks.at()));
    node.setAttribute("aria-valuemax", String(last));
    node.setAttribute("aria-valuenow", String(at));
    node.setAttribute("aria-valuetext", hooks.count() ? hooks.text(at) : "no data");
  };
  node.tabIndex = 0;
  node.setAttribute("role", "slider");
  node.setAttribute("aria-label", hooks.label);
  node.setAttribute("aria-valuemin", "0");
  tell();
  node.addEventListener("keydown", (event) => {
    const last = hooks.count() - 1;
    if (last < 0) return;
    /** @type {Record<string, number>} */
    const moves = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowDown: -1,
      ArrowUp: 1,
      PageDown: -7,
      PageUp: 7,
      Home: -Infinity,
      End: Infinity,
      ...hooks.keys,
    };
    if (event.key === "Escape") return hooks.leave();
    if (!(event.key in moves) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    hooks.step(Math.min(last, Math.max(0, hooks.at() + moves[event.key])));
    tell();
  });
  node.addEventListener(
    "focus",
    () =>
      node.matches(":focus-visible") &&
      hooks.count() &&
      (hooks.step(Math.min(hooks.count() - 1, Math.max(0, hooks.at()))), tell()),
  );
  node.addEventListener("blur", () => hooks.leave());
  return tell;
}
