"""Pagination as the Cosmos SDK does it: `pagination.limit`, `pagination.key` and `next_key`."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import TypeVar

from aiohttp import web

from services.simulator.replies import Json, query_number

T = TypeVar("T")

DEFAULT_LIMIT = 100
"""Rows of a page that names no limit (Cosmos SDK: types/query)."""


class InvalidKeyError(ValueError):
    """A `pagination.key` that no page gave."""


def page(request: web.Request, items: Sequence[tuple[bytes, T]]) -> tuple[list[T], Json]:
    """The page of (key, item) pairs, ordered by key, that a request asks for, and its `pagination` object.

    A key stays good when hosts join: it is where the next page starts. Raises InvalidKeyError.
    """
    limit = query_number(request, "pagination.limit") or DEFAULT_LIMIT
    start = query_number(request, "pagination.offset") or 0
    asked = request.query.get("pagination.key")
    if asked:
        try:
            key = b64decode(asked.replace(" ", "+").replace("-", "+").replace("_", "/"), validate=True)
        except binascii.Error as error:
            raise InvalidKeyError(asked) from error
        start = next((index for index, item in enumerate(items) if item[0] >= key), len(items))
    following = items[start + limit : start + limit + 1]
    counted = request.query.get("pagination.count_total") == "true" and not asked
    return [item for _, item in items[start : start + limit]], {
        "next_key": b64encode(following[0][0]).decode() if following else None,
        "total": str(len(items)) if counted else "0",
    }
