"""GPU types from hosts' self-reported hardware."""

import re
from collections import Counter

from services.ingest.trackers.wire import Payload, Text, Whole, each

_VENDOR = re.compile(r"\b(NVIDIA|GeForce|Tesla|AMD|Radeon|Graphics)\b", re.IGNORECASE)
_MEMORY = re.compile(r"\d+\s?G(i?B)?\b", re.IGNORECASE)
_LIMIT = 50


class _Hardware(Payload):
    type: Text = None
    count: Whole = None


class _MlNode(Payload):
    hardware: list[object] | None = None


class HardwareNodes(Payload):
    """The hardware that one host declares."""

    participant: Text = None
    hardware_nodes: list[object] | None = None


def normalised_gpu(reported: str) -> str | None:
    """The model and its memory: "NVIDIA H100 80GB HBM3 | 79GB" → "H100 80GB", "NVIDIA GeForce RTX 3090 | 24GB" →
    "RTX 3090 24GB". The memory in the model's name is the card's; what follows the bar is what the driver counted.
    """
    name, _, counted = reported.partition("|")
    name = " ".join(_VENDOR.sub(" ", name).split())
    memory = _MEMORY.search(name)
    if memory:
        name = name[: memory.end()]
    elif name and _MEMORY.fullmatch(counted.strip()):
        name = f"{name} {counted.strip()}"
    return name[:_LIMIT].strip() or None


def gpu_type(host: HardwareNodes) -> str | None:
    """The host's most frequent GPU by count; of several the first by name; None when it declares none."""
    counts: Counter[str] = Counter()
    nodes, _ = each(host.hardware_nodes or (), _MlNode.model_validate)
    for node in nodes:
        items, _ = each(node.hardware or (), _Hardware.model_validate)
        for item in items:
            name = normalised_gpu(item.type or "")
            if name:
                counts[name] += item.count if item.count is not None else 1
    return min(counts, key=lambda name: (-counts[name], name), default=None)
