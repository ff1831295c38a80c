"""Pieces of JSON that the chain and the trackers share."""

from services.simulator.hosts import Host
from services.simulator.payments import Member
from services.simulator.replies import Json
from services.simulator.timeline import EPOCH_LENGTH, SET_NEW_VALIDATORS_DELAY, Timeline, poc_start
from services.simulator.world import Stats


def stats_row(stats: Stats) -> Json:
    """`current_epoch_stats`: 64-bit numbers are strings, and no reward shows while an epoch runs."""
    return {
        "inference_count": str(stats.work.inferences),
        "missed_requests": str(stats.work.missed),
        "earned_coins": str(stats.earned_ngonka),
        "rewarded_coins": "0",
        "burned_coins": "0",
        "validated_inferences": str(stats.work.validated),
        "invalidated_inferences": str(stats.work.invalidated),
    }


def hardware_rows(host: Host) -> list[Json]:
    """A host's machines as it reports them."""
    return [
        {
            "local_id": node.name,
            "status": node.status,
            "models": [node.model],
            "hardware": [{"type": kind, "count": count} for kind, count in node.hardware],
            "host": node.ip,
            "port": "8080",
        }
        for node in host.ml_nodes
    ]


def node_weights(member: Member) -> dict[str, int]:
    """Weight by ML node, for the nodes that have any."""
    nodes = zip(member.host.ml_nodes, member.node_weights, strict=True)
    return {node.name: weight for node, weight in nodes if weight}


def epoch_stages(timeline: Timeline, epoch: int) -> Json:
    """`epoch_stages` of an epoch, from its own PoC start and validation offset."""
    start = poc_start(epoch)
    end = timeline.validation_end(epoch)
    return {
        "epoch_index": epoch,
        "poc_start": start,
        "poc_generation_wind_down": start + 48,
        "poc_generation_end": start + 60,
        "poc_validation_start": start + 65,
        "poc_validation_wind_down": end - (end - start - 65) // 5,
        "poc_validation_end": end,
        "set_new_validators": end + SET_NEW_VALIDATORS_DELAY,
        "claim_money": end + SET_NEW_VALIDATORS_DELAY + 1,
        "inference_validation_cutoff": start + EPOCH_LENGTH - 80,
        "next_poc_start": start + EPOCH_LENGTH,
        "poc_exchange_window": {"start": start + 1, "end": start + 65},
        "poc_validation_exchange_window": {"start": start + 66, "end": end},
    }


def phase(stages: Json, height: int) -> str:
    """The phase of the latest epoch at a height."""
    marks = (
        ("poc_generation_wind_down", "PoCGenerate"),
        ("poc_validation_start", "PoCGenerateWindDown"),
        ("poc_validation_wind_down", "PoCValidate"),
        ("poc_validation_end", "PoCValidateWindDown"),
    )
    return next((name for mark, name in marks if height < stages[mark]), "Inference")


def epoch_params(timeline: Timeline, epoch: int) -> Json:
    """`epoch_params` in force in an epoch, as numbers."""
    return {
        "epoch_length": EPOCH_LENGTH,
        "epoch_multiplier": 1,
        "epoch_shift": 16980,
        "default_unit_of_compute_price": 100,
        "poc_stage_duration": 60,
        "poc_exchange_duration": 5,
        "poc_validation_delay": 5,
        "poc_validation_duration": timeline.validation_offset(epoch) - 65,
        "set_new_validators_delay": SET_NEW_VALIDATORS_DELAY,
        "inference_validation_cutoff": 80,
        "inference_pruning_epoch_threshold": 2,
        "inference_pruning_max": 5000,
        "poc_pruning_max": 1000,
        "poc_slot_allocation": {"value": 1, "exponent": -1},
    }


def as_strings(numbers: Json) -> Json:
    """The shape of chain version 0.2.15: the numbers of an object as strings."""
    return {
        key: str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in numbers.items()
    }
