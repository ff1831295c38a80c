"""What goes wrong around each settlement of the year: one or two of these, at one node or at both."""

import random
from collections.abc import Sequence
from typing import Any

from services.simulator.app import Simulator
from services.simulator.faults import Fault

_SUMMARIES = "*/epoch_performance_summary/*"
_LATEST_BLOCKS = 300
_HALF_A_DAY = 43_200.0

WEATHER: tuple[tuple[str, dict[str, Any]], ...] = (
    ("fair", {}),
    ("fair", {}),
    ("errors", {"kind": "500", "path": "*", "probability": 0.3, "seconds": _HALF_A_DAY}),
    ("no summaries", {"kind": "500", "path": _SUMMARIES, "seconds": _HALF_A_DAY}),
    ("no list of summaries", {"kind": "500", "path": "*/epoch_performance_summary/[0-9]*[0-9]", "count": 3}),
    ("unavailable", {"kind": "503", "retry_after": "600", "seconds": _HALF_A_DAY}),
    ("too many requests", {"kind": "429", "retry_after": "7200", "count": 2}),
    ("time-out", {"kind": "timeout", "count": 1}),
    ("body breaks off", {"kind": "truncated_body", "path": _SUMMARIES, "count": 4}),
    ("list cut short", {"kind": "truncated_list", "path": _SUMMARIES, "keep": 17, "count": 4}),
    ("hosts missing", {"kind": "missing_rows", "path": _SUMMARIES, "count": 4}),
    ("empty lists", {"kind": "empty_list", "count": 6}),
    ("older height", {"kind": "older_height", "back_seconds": 90_000.0, "seconds": _HALF_A_DAY}),
    ("catching up", {"kind": "catching_up", "seconds": _HALF_A_DAY}),
    ("stale", {"kind": "stale", "seconds": 2 * _HALF_A_DAY}),
    ("redirect", {"kind": "redirect", "count": 5}),
    ("pruned", {"kind": "pruned", "keep_blocks": _LATEST_BLOCKS, "seconds": 2.5 * _HALF_A_DAY}),
    ("pruned", {"kind": "pruned", "keep_blocks": _LATEST_BLOCKS, "seconds": 2.5 * _HALF_A_DAY}),
)


def brew(chance: random.Random, nodes: Sequence[Simulator]) -> list[str]:
    """Turn the faults of one epoch on; returns their names."""
    happened = []
    for _ in range(chance.choice((1, 1, 2))):
        name, fault = chance.choice(WEATHER)
        if fault:
            hit = chance.choice((nodes[:1], nodes[:1], nodes[1:], nodes))
            for node in hit:
                node.faults.turn_on(Fault.model_validate(fault), node.clock())
            happened.append(name)
    return happened


def archive_away(node: Simulator) -> None:
    """Only the last two epochs' blocks are left, and no older epoch's participants: times are estimates from afar."""
    node.faults.turn_on(Fault.model_validate({"kind": "pruned"}), node.clock())
    node.faults.turn_on(Fault.model_validate({"kind": "500", "path": "/v1/epochs/[0-9]*/participants"}), node.clock())
