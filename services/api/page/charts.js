/** Amounts by day, drawn with uPlot. */

import { colour, hatched } from "./colours.js";
import { el } from "./dom.js";
import { compact, shortDay } from "./format.js";
import { onTheme } from "./theme.js";
import { steppable, Tooltip } from "./tooltip.js";

/**
 * A series of a chart; null is a gap.
 * @typedef {{label: string, kind: "bars" | "hatched" | "line" | "area", token: string, values: (number | null)[]}} Series
 * @typedef {{days: string[], series: Series[], describe: (index: number) => string[]}} Data
 */

const DAY = 86400;
/** @type {Promise<any> | null} */
let library = null;

/** uPlot, once a chart is drawn; null where it cannot be had at the moment. */
const uplot = () =>
  (library ??= import("./vendor/uplot/uPlot.esm.js").then(
    (module) => module.default,
    () => (library = null),
  ));

export class DayChart {
  /** @type {Data} */
  #data = { days: [], series: [], describe: () => [] };
  /** @type {any} */
  #plot = null;
  #at = -1;
  #drawing = 0;

  /**
   * @param {{label: string, signal: AbortSignal, axes?: boolean, testid: string}} options
   */
  constructor({ label, signal, axes = true, testid }) {
    this.axes = axes;
    this.label = label;
    this.canvas = el("div", { class: "chart-canvas" });
    this.root = el("div", { class: `chart${axes ? "" : " bare"}`, "data-testid": testid }, this.canvas);
    this.tooltip = new Tooltip(this.root);
    this.tell = steppable(this.root, {
      label: `${label}: step through the days with the arrow keys`,
      count: () => this.#data.days.length,
      at: () => (this.#at < 0 ? this.#data.days.length - 1 : this.#at),
      step: (index) => this.#point(index),
      text: (index) => this.#data.describe(index).join(", "),
      leave: () => this.#leave(),
    });
    const sizes = new ResizeObserver(() => this.#fit());
    sizes.observe(this.canvas);
    onTheme(() => void this.#draw(), signal);
    signal.addEventListener("abort", () => (sizes.disconnect(), this.#plot?.destroy(), (this.#plot = null)));
    this.signal = signal;
  }

  /** @param {Data} data */
  show(data) {
    const same =
      this.#plot && JSON.stringify([data.days, data.series]) === JSON.stringify([this.#data.days, this.#data.series]);
    this.#data = data;
    if (this.#at >= data.days.length) this.#at = -1;
    this.tell();
    if (!same) void this.#draw();
  }

  async #draw() {
    if (!this.#data.days.length) return;
    const mine = ++this.#drawing;
    const UPlot = await uplot();
    if (UPlot === null || mine !== this.#drawing || this.signal.aborted) return;
    this.#plot?.destroy();
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const columns = [
      this.#data.days.map((day) => Date.parse(day) / 1000),
      ...this.#data.series.map((series) => series.values),
    ];
    this.#plot = new UPlot(this.#options(UPlot, Math.max(width, 50), Math.max(height, 40)), columns, this.canvas);
  }

  /** @param {any} UPlot @param {number} width @param {number} height */
  #options(UPlot, width, height) {
    const ink = colour("--text-3");
    const font = `${Math.round(parseFloat(getComputedStyle(this.root).fontSize))}px system-ui, sans-serif`;
    const scale = parseFloat(getComputedStyle(this.root).fontSize) / 11;
    const axis = { stroke: ink, font, ticks: { show: false }, gap: 4 * scale };
    return {
      width,
      height,
      pxAlign: 1,
      legend: { show: false },
      padding: this.axes ? [8, 18 * scale, 0, 0] : [4, 2, 2, 2],
      tzDate: (/** @type {number} */ seconds) => UPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
      scales: {
        x: {
          time: true,
          range: (/** @type {any} */ _, /** @type {number} */ min, /** @type {number} */ max) => [
            min - DAY / 2,
            max + DAY / 2,
          ],
        },
        y: {
          range: (/** @type {any} */ _, /** @type {number | null} */ min, /** @type {number | null} */ max) => [
            Math.min(0, min ?? 0),
            max && max > 0 ? max * 1.08 : 1,
          ],
        },
      },
      axes: [
        {
          ...axis,
          show: this.axes,
          size: 23 * scale,
          space: 64 * scale,
          grid: { show: false },
          incrs: [1, 2, 3, 7, 14, 30].map((days) => days * DAY),
          values: (/** @type {any} */ _, /** @type {number[]} */ splits) =>
            splits.map((at) => shortDay(new Date(at * 1000).toISOString().slice(0, 10))),
        },
        {
          ...axis,
          show: this.axes,
          size: 46 * scale,
          space: 32 * scale,
          grid: { stroke: colour("--grid"), width: 1 },
          values: (/** @type {any} */ _, /** @type {number[]} */ splits) =>
            splits.map((at) => (this.#data.series.some(({ values }) => values.some((one) => one !== null)) ? compact(at) : "")),
        },
      ],
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: {
          show: (/** @type {any} */ _, /** @type {number} */ at) =>
            at > 0 && /line|area/.test(this.#data.series[at - 1].kind),
        },
      },
      series: [{}, ...this.#data.series.map((series) => this.#series(UPlot, series))],
      hooks: {
        setCursor: [(/** @type {any} */ plot) => this.#hover(plot)],
        draw: [(/** @type {any} */ plot) => this.#marks(plot)],
      },
    };
  }

  /** @param {any} UPlot @param {Series} series */
  #series(UPlot, series) {
    const stroke = colour(series.token);
    const base = { label: series.label, stroke, points: { show: false }, spanGaps: false };
    if (series.kind === "line") return { ...base, width: 2 };
    if (series.kind === "area") return { ...base, width: 1.5, fill: colour("--accent-wash") };
    const bars = {
      ...base,
      width: series.kind === "hatched" ? 1 : 0,
      paths: UPlot.paths.bars({ size: [0.72, 56], radius: 0.12 }),
    };
    if (series.kind === "bars") return { ...bars, fill: stroke };
    return { ...bars, fill: (/** @type {any} */ plot) => hatched(plot.ctx, stroke, colour("--surface")) };
  }

  /**
   * Marks days of which nothing is known with a dot, and days that brought nothing with a flat line: neither would show.
   * @param {any} plot
   */
  #marks(plot) {
    if (!this.axes) return;
    const { ctx } = plot;
    const size = 2 * devicePixelRatio;
    const base = plot.valToPos(0, "y", true);
    const width = (0.72 * plot.bbox.width) / plot.data[0].length;
    const bars = this.#data.series.find((series) => series.kind === "bars");
    const [dot, flat] = [colour("--text-3"), colour(bars?.token ?? "--accent")];
    ctx.save();
    plot.data[0].forEach((/** @type {number} */ at, /** @type {number} */ index) => {
      const x = plot.valToPos(at, "x", true);
      const values = this.#data.series.map((series) => series.values[index]);
      ctx.fillStyle = dot;
      if (values.every((value) => value === null)) ctx.fillRect(x - size / 2, base - size * 3, size, size);
      ctx.fillStyle = flat;
      if (bars && values.includes(0)) ctx.fillRect(x - width / 2, base - size / 2, width, size);
    });
    ctx.restore();
  }

  /** @param {any} plot */
  #hover(plot) {
    const index = plot.cursor.idx;
    if (index === null || index === undefined || plot.cursor.left < 0) return this.tooltip.hide();
    this.#at = index;
    this.#tip(plot, index);
  }

  /** @param {any} plot @param {number} index */
  #tip(plot, index) {
    const value = this.#data.series.map((series) => series.values[index]).find((one) => one !== null) ?? 0;
    const over = plot.over;
    this.tooltip.show(
      over.offsetLeft + plot.valToPos(plot.data[0][index], "x"),
      over.offsetTop + plot.valToPos(value, "y"),
      this.#data.describe(index),
    );
  }

  /** @param {number} index */
  #point(index) {
    this.#at = index;
    const plot = this.#plot;
    if (!plot) return;
    plot.setCursor({ left: plot.valToPos(plot.data[0][index], "x"), top: 10 });
  }

  #leave() {
    this.tooltip.hide();
    this.#plot?.setCursor({ left: -10, top: -10 }, false);
  }

  #fit() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    if (this.#plot && width && (width !== this.#plot.width || height !== this.#plot.height))
      void this.#draw(); // anew, as its letters grow with the window
  }
}
