"""The JSON Schema (draft 2020-12) of each event type, from the annotations of its fields.

What a schema accepts the decoder accepts, but for what no schema can say: see LIMITS. The decoder takes a little more
than is promised here, for what was once published must decode for ever. Unknown fields are allowed, and ignored.
"""

import inspect
from typing import Any, get_type_hints

import msgspec
from msgspec import Meta
from msgspec.structs import FieldInfo

from services.kernel import fields
from services.kernel.events import FORMS, EarningsReport, Event, NodeReading, RefreshRequest, SourceStatus
from services.kernel.wire import EVENT_TYPES, FUTURE_TOLERANCE

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LIMITS = (
    f"No time may be more than {FUTURE_TOLERANCE.total_seconds() / 60:g} minutes ahead of the record's own Kafka "
    "timestamp; for `day` and `total` neither may the beginning of the period's date.",
    f"Times lie within the years {fields.EARLIEST_YEAR} to {fields.LATEST_YEAR} in UTC.",
    "An amount is the sum of its work and reward, where both are given.",
    "Integers are written without a fraction or exponent: `1`, not `1.0`.",
    "A decimal may not round up to its bound.",
    "A name stands once in an object.",
)
"""What a record must satisfy beyond its schema."""

EXAMPLES: dict[type[Event], Schema] = {
    NodeReading: {
        "identifier": "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7",
        "identifier_type": "wallet",
        "source": "my-tracker",
        "observed_at": "2026-03-01T11:59:30Z",
        "status": "healthy",
        "health_probed": True,
        "jobs_day": 1204,
        "active_model": "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8",
        "voting_weight": "15034.5",
        "epoch": 187,
        "tokens_per_sec": 842.31,
        "gpu_type": "8 x H100",
        "region": "eu-central",
    },
    EarningsReport: {
        "identifier": "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7",
        "identifier_type": "wallet",
        "source": "my-tracker",
        "kind": "epoch",
        "period": 186,
        "amount_ngonka": "48552031736571",
        "work_ngonka": "1031736571",
        "reward_ngonka": "48551000000000",
        "observed_at": "2026-03-01T11:59:30Z",
        "settled_at": "2026-03-01T08:12:44.512Z",
        "settled_exact": True,
        "final": True,
    },
    RefreshRequest: {
        "source": "my-tracker",
        "requested_at": "2026-03-01T11:59:30Z",
        "requested_by": "api",
        "epoch": 186,
    },
    SourceStatus: {
        "source": "my-tracker",
        "kind": "hyperfusion",
        "reported_at": "2026-03-01T11:59:30Z",
        "preference_seconds": 600,
        "earnings_order": 20,
        "probes_health": True,
        "poll_interval_seconds": 30,
        "last_attempt_at": "2026-03-01T11:59:29Z",
        "last_success_at": "2026-03-01T11:59:29Z",
        "data_at": "2026-03-01T11:59:02Z",
    },
}
"""An event of each type, as a producer may write it."""


def schema_of(event_class: type[Event]) -> Schema:
    """The schema of an event's JSON, whole: it refers to nothing else."""
    event_type = EVENT_TYPES[event_class]
    described = field_schemas(event_class)
    schema: Schema = {
        "$schema": DIALECT,
        "$id": f"urn:{event_type.versioned.replace('.', ':', 1)}",
        "title": event_class.__name__,
        "description": "\n".join([inspect.getdoc(event_class) or "", "", *(f"- {limit}" for limit in LIMITS)]),
        "type": "object",
        "required": required_fields(event_class),
        "properties": described,
        "examples": [EXAMPLES[event_class]],
    }
    if rules := _RULES.get(event_class):
        schema["allOf"] = rules
    return schema


def required_fields(event_class: type[Event]) -> list[str]:
    """The names of the fields that every event of the type has."""
    return [field.name for field in msgspec.structs.fields(event_class) if field.required]


def field_schemas(event_class: type[Event]) -> dict[str, Schema]:
    """Each field's schema, by name, in order. An optional one may also be null where null means unknown."""
    metas = described_fields(event_class)
    return {field.name: _field_schema(field, metas[field.name]) for field in msgspec.structs.fields(event_class)}


def described_fields(event_class: type[Event]) -> dict[str, Meta]:
    """What is said of each field beside its annotation, by name, in order."""
    hints = get_type_hints(event_class, include_extras=True)
    return {name: next(m for m in reversed(hint.__metadata__) if isinstance(m, Meta)) for name, hint in hints.items()}


def _field_schema(field: FieldInfo, meta: Meta) -> Schema:
    schema: Schema = {"description": meta.description, **(meta.extra_json_schema or {})}
    if field.required:
        return schema
    if field.default is None:
        _allow_null(schema)
    return schema | {"default": field.default}


def _allow_null(schema: Schema) -> None:
    if "anyOf" in schema:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    elif "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    else:
        schema["type"] = [schema["type"], "null"]


def _when(condition: Schema, then: Schema, otherwise: Schema | None = None) -> Schema:
    """What holds if the fields are there and their values satisfy the condition."""
    rule: Schema = {"if": {"required": list(condition), "properties": condition}, "then": {"properties": then}}
    return rule if otherwise is None else rule | {"else": {"properties": otherwise}}


_KNOWN: Schema = {"not": {"type": "null"}}
_IDENTITY = [
    _when({"identifier": {"pattern": "/"}}, {"identifier_type": {"const": "node_id"}}),
    *(
        _when({"identifier": {"pattern": f"^{prefix}[^/]*$"}}, {"identifier_type": {"const": identifier_type}})
        for prefix, identifier_type in FORMS
    ),
]


def _needs(condition: Schema, field: str) -> Schema:
    """The field is there, and not null, where the condition holds."""
    rule = _when(condition, {field: _KNOWN})
    rule["then"]["required"] = [field]
    return rule


_RULES: dict[type[Event], list[Schema]] = {
    NodeReading: _IDENTITY,
    EarningsReport: [
        *_IDENTITY,
        _when({"kind": {"const": "epoch"}}, {"period": fields.EPOCH_PERIOD}, {"period": fields.DATE_PERIOD}),
        _needs({"kind": {"const": "epoch"}, "final": {"const": True}}, "settled_at"),
    ],
    SourceStatus: [
        _needs({"total_epoch": _KNOWN}, "total_ngonka"),
        _needs({"total_ngonka": _KNOWN}, "total_epoch"),
    ],
}
