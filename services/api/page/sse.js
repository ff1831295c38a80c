/** The wire form of server-sent events. */

/** @typedef {{type: string, data: string}} ServerEvent */

/**
 * A parser to be fed with text as it comes, cut anywhere.
 * @param {{
 *   event: (event: ServerEvent) => void, place: (id: string) => void, retry: (ms: number) => void
 * }} told `place` is told where the stream is (also by a block that is no event), `retry` how long to wait before trying again
 */
export function parser(told) {
  let rest = "";
  let type = "";
  /** @type {string[]} */
  let data = [];
  /** @type {string | null} */
  let id = null;

  /** @param {string} line */
  const take = (line) => {
    if (line === "") {
      if (data.length) told.event({ type: type || "message", data: data.join("\n") });
      if (id !== null) told.place(id);
      id = null;
      type = "";
      data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (field === "event") type = value;
    else if (field === "data") data.push(value);
    else if (field === "id" && !value.includes("\0")) id = value;
    else if (field === "retry" && /^\d+$/.test(value)) told.retry(Number(value));
  };

  return (/** @type {string} */ text) => {
    rest += text;
    const whole = rest.endsWith("\r") ? rest.length - 1 : rest.length; // a lone CR may be half of CRLF
    const lines = rest.slice(0, whole).split(/\r\n|\n|\r/);
    rest = lines.pop() + rest.slice(whole);
    for (const line of lines) take(line);
  };
}
