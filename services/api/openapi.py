"""The OpenAPI document: what FastAPI knows of the routes, and what it cannot know."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

_DESCRIPTION = """\
Nodes of the Gonka network and what they earned. Everything is answered from PostgreSQL; no tracker is called meanwhile.

- Money is a decimal string, exact. `null` means not known, never zero.
- Readings say how old they are (`age_seconds`). One that is `stale` is shown all the same, and a refresh asked for.
- Days are UTC days. Settled earnings are apart from `provisional` ones.
- An identifier in a path is percent-encoded: an ML node's `address/node_id` as `address%2Fnode_id`.
- Every error is a problem document (RFC 9457).
"""


def document(app: FastAPI) -> dict[str, Any]:
    """The document of the app's routes."""
    found: dict[str, Any] = get_openapi(
        title="MineGNK", version="1", summary="The read side.", description=_DESCRIPTION, routes=app.routes
    )
    found["components"]["securitySchemes"] = {
        "key": {"type": "http", "scheme": "bearer", "description": "An API key, or the portal's token (JWT)."}
    }
    found["security"] = [{}, {"key": []}]
    for path in found["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)  # FastAPI's own shape; ours is the default
            problem = operation["responses"].get("default")
            if problem is not None:
                problem["content"] = {"application/problem+json": problem["content"]["application/problem+json"]}
    for name in ("HTTPValidationError", "ValidationError"):
        found["components"]["schemas"].pop(name, None)
    return found
