"""The API's routes, by what they are about."""

from typing import Any, Final

from services.api.schemas import Problem

PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    "default": {
        "description": "A problem (RFC 9457).",
        "model": Problem,
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}
NOT_MODIFIED: Final[dict[int | str, dict[str, Any]]] = {304: {"description": "You have it: the tag is the same."}}


def csv_too(what: str) -> dict[int | str, dict[str, Any]]:
    """The answers of a route that gives CSV as well."""
    csv = {"text/csv": {"schema": {"type": "string"}}}
    return {200: {"description": f"{what}; CSV by Accept or `format=csv`.", "content": csv}, **NOT_MODIFIED}
