/** Building elements. Text only ever enters the document as text. */

const SVG = "http://www.w3.org/2000/svg";

/** @typedef {Node | string | number | null | undefined | false} Child */

/**
 * @param {Element} node
 * @param {Record<string, any> | null} props attributes; functions are listeners; null and false leave out, true is empty
 */
function set(node, props) {
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
}

/**
 * @param {Node & ParentNode} node
 * @param {Child[]} children
 */
function fill(node, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    node.append(typeof child === "number" ? String(child) : child);
  }
}

/**
 * An HTML element.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, props = null, ...children) {
  const node = document.createElement(tag);
  set(node, props);
  fill(node, children);
  return node;
}

/**
 * An SVG element.
 * @param {string} tag
 * @param {Record<string, any> | null} [props]
 * @param {...Child} children
 * @returns {SVGElement}
 */
export function svg(tag, props = null, ...children) {
  const node = document.createElementNS(SVG, tag);
  set(node, props);
  fill(node, children);
  return node;
}

/**
 * Replaces what an element holds.
 * @param {Element} node
 * @param {...Child} children
 */
export function put(node, ...children) {
  node.replaceChildren();
  fill(node, children);
}

/**
 * Sets text only where it differs, so that selections and screen readers are left in peace.
 * @param {Element} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Text for screen readers only.
 * @param {string} text
 */
export const sr = (text) => el("span", { class: "sr" }, text);

/** What stands where a value is not known. */
export function unknown() {
  return el(
    "span",
    { class: "unknown", title: "not known" },
    el("span", { "aria-hidden": "true" }, "–"),
    sr("not known"),
  );
}

/**
 * Text from outside, kept from disturbing the direction of what stands around it; or the mark of the unknown.
 * @param {string | null} text
 */
export const given = (text) => (text === null ? unknown() : el("bdi", null, text));

const PATHS = {
  copy: "M5.5 5.5V3.2c0-.4.3-.7.7-.7h6.6c.4 0 .7.3.7.7v6.6c0 .4-.3.7-.7.7h-2.3M3.2 5.5h6.6c.4 0 .7.3.7.7v6.6c0 .4-.3.7-.7.7H3.2a.7.7 0 0 1-.7-.7V6.2c0-.4.3-.7.7-.7Z",
  check: "m3 8.5 3.2 3.2L13 4.8",
  sun: "M8 1.5v1.6M8 12.9v1.6M1.5 8h1.6M12.9 8h1.6M3.4 3.4l1.1 1.1M11.5 11.5l1.1 1.1M12.6 3.4l-1.1 1.1M4.5 11.5l-1.1 1.1M10.8 8a2.8 2.8 0 1 1-5.6 0 2.8 2.8 0 0 1 5.6 0Z",
  moon: "M13.5 9.4A5.8 5.8 0 0 1 6.6 2.5a5.8 5.8 0 1 0 6.9 6.9Z",
  down: "m4 6 4 4 4-4",
  right: "m6 4 4 4-4 4",
  download: "M8 2.5v7m0 0 2.8-2.8M8 9.5 5.2 6.7M2.5 13.5h11",
  search: "M10.9 10.9 14 14M12.2 7.1a5.1 5.1 0 1 1-10.2 0 5.1 5.1 0 0 1 10.2 0Z",
  back: "m10 3.5-4.5 4.5 4.5 4.5",
};

/**
 * A line icon in the colour of the text, hidden from screen readers.
 * @param {keyof typeof PATHS} name
 */
export function icon(name) {
  return svg(
    "svg",
    { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" },
    svg("path", { d: PATHS[name] }),
  );
}
