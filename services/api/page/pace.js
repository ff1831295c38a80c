/** Doing things not too often. */

/**
 * Runs at once when it has not run for `ms`, and otherwise once, when that time is over. Waits while the page is hidden.
 * @param {() => unknown} run
 * @param {number} ms
 * @param {AbortSignal} [signal] ends it
 */
export function atMostEvery(run, ms, signal) {
  let last = -Infinity;
  /** @type {number | undefined} */
  let timer;
  let wanted = false;
  const go = () => {
    timer = undefined;
    if (signal?.aborted) return;
    if (document.hidden) {
      wanted = true;
      return;
    }
    wanted = false;
    last = performance.now();
    run();
  };
  document.addEventListener("visibilitychange", () => !document.hidden && wanted && go(), { signal });
  signal?.addEventListener("abort", () => clearTimeout(timer));
  return () => {
    if (timer === undefined) timer = setTimeout(go, Math.max(0, last + ms - performance.now()));
  };
}

/**
 * Runs when nothing was asked for `ms`.
 * @param {() => unknown} run
 * @param {number} ms
 */
export function afterQuiet(run, ms) {
  /** @type {number | undefined} */
  let timer;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, ms);
  };
}

/**
 * @param {number} ms
 * @param {AbortSignal} signal
 * @returns {Promise<void>} resolves early when the signal aborts
 */
export const pause = (ms, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
