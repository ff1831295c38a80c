"""Line charts as SVG: a few points, two axes with their units, legible on light and on dark pages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

_WIDTH, _HEIGHT = 380, 260  # of a panel, in pixels
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 16, 52, 46
_COLOURS = ("#2f81f7", "#d97706", "#16a34a")
_GREY = "#808080"


@dataclass(frozen=True)
class Line:
    """A named series of (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One chart. The y axis begins at 0; x is logarithmic where it is said so."""

    title: str
    x_axis: str
    y_axis: str
    lines: Sequence[Line]
    logarithmic: bool = False


def svg(panels: Sequence[Panel]) -> str:
    """The panels side by side."""
    width = _WIDTH * len(panels)
    drawn = "\n".join(
        f'<g transform="translate({_WIDTH * place} 0)">\n{_panel(panel)}\n</g>' for place, panel in enumerate(panels)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" width="{width}" height="{_HEIGHT}" '
        f'font-family="sans-serif" font-size="11" fill="{_GREY}">\n{drawn}\n</svg>\n'
    )


def _panel(panel: Panel) -> str:
    xs = sorted({x for line in panel.lines for x, _ in line.points})
    top = _round_up(max(y for line in panel.lines for _, y in line.points))
    low, high = _scaled(panel, xs[0]), _scaled(panel, xs[-1])

    def across(x: float) -> float:
        share = (_scaled(panel, x) - low) / (high - low) if high > low else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def down(y: float) -> float:
        return _HEIGHT - _BOTTOM - y / top * (_HEIGHT - _TOP - _BOTTOM)

    parts = [
        _text(_WIDTH / 2, 16, panel.title, "middle", ' font-size="13" font-weight="bold"'),
        _text(_WIDTH / 2, _HEIGHT - 8, panel.x_axis + (", logarithmic" if panel.logarithmic else ""), "middle"),
        _text(8, 36, panel.y_axis, "start"),
    ]
    for step in range(5):
        y = top * step / 4
        parts.append(
            f'<path d="M{_LEFT} {down(y):.1f}H{_WIDTH - _RIGHT}" stroke="{_GREY}" stroke-opacity="0.3"/>'
            + _text(_LEFT - 6, down(y) + 4, f"{y:g}", "end")
        )
    parts += [_text(across(x), _HEIGHT - _BOTTOM + 16, _short(x), "middle") for x in xs]
    for place, (line, colour) in enumerate(zip(panel.lines, _COLOURS, strict=False)):
        corners = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in line.points)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{across(x):.1f}" cy="{down(y):.1f}" r="3" fill="{colour}"/>' for x, y in line.points]
        parts.append(_text(_WIDTH - _RIGHT - 90 * place, 36, line.name, "end", f' style="fill:{colour}"'))
    return "\n".join(parts)


def _scaled(panel: Panel, x: float) -> float:
    return math.log10(x) if panel.logarithmic else x


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{more}>{escape(words)}</text>'


def _round_up(value: float) -> float:
    """The next of 1, 2, 4 or 10 times a power of ten, so that quarters of it are short numbers."""
    power = 10 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(power * step for step in (1, 2, 4, 6, 8, 10) if power * step >= value)


def _short(value: float) -> str:
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:g}"
