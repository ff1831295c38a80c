/** Design tokens as colours that a canvas understands. */

const probe = document.createElement("span");
probe.className = "sr";
probe.setAttribute("aria-hidden", "true");

/**
 * @param {string} token the name of a custom property, "--accent"
 * @returns {string} what it is in the theme of the moment
 */
export function colour(token) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${token})`;
  return getComputedStyle(probe).color;
}

/**
 * A hatched fill, for what is not final.
 * @param {CanvasRenderingContext2D} context
 * @param {string} ink
 * @param {string} paper
 */
export function hatched(context, ink, paper) {
  const tile = document.createElement("canvas");
  const side = Math.round(6 * devicePixelRatio);
  tile.width = tile.height = side;
  const draw = /** @type {CanvasRenderingContext2D} */ (tile.getContext("2d"));
  draw.fillStyle = paper;
  draw.fillRect(0, 0, side, side);
  draw.strokeStyle = ink;
  draw.lineWidth = devicePixelRatio * 1.4;
  draw.beginPath();
  for (const shift of [-side, 0, side]) {
    draw.moveTo(shift, side);
    draw.lineTo(shift + side, 0);
  }
  draw.stroke();
  return /** @type {CanvasPattern} */ (context.createPattern(tile, "repeat"));
}
