"""What went wrong with a request or one of its items, as problem documents (RFC 9457)."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from msgspec.structs import fields

from services.kernel.errors import InvalidRecordError
from services.kernel.events import EarningsReport, NodeReading
from services.kernel.wire import encode_json

MEDIA_TYPE: Final = "application/problem+json"
_TYPE: Final = "urn:minegnk:problem:"
_FIELDS: Final = frozenset(field.name for event in (NodeReading, EarningsReport) for field in fields(event))
# How messages name a field: msgspec's path, msgspec's missing field, and our own checks, which begin with it.
_NAMED: Final = re.compile(r"at `\$\.(\w+)|required field `(\w+)`|^(\w+)")


class ProblemError(Exception):
    """A request that is answered with a problem. `code` is one word for programs; `detail` says what to do."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        retry_after: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        if status is HTTPStatus.UNAUTHORIZED:
            self.headers["WWW-Authenticate"] = 'Bearer realm="minegnk"'
        self.more = dict(more or {})

    def response(self) -> web.Response:
        """The answer."""
        document = {
            "type": _TYPE + self.code,
            "title": self.status.phrase,
            "status": int(self.status),
            "detail": self.detail,
            "code": self.code,
            **self.more,
        }
        return web.Response(
            body=encode_json(document), status=self.status, headers=self.headers, content_type=MEDIA_TYPE
        )


def item_problem(index: int, error: InvalidRecordError) -> dict[str, Any]:
    """What is wrong with the item at this index: the reason is the one that a dead letter would have."""
    problem = {"index": index, "code": error.reason.value, "detail": error.detail}
    if (field := field_of(error.detail)) is not None:
        problem["field"] = field
    return problem


def field_of(detail: str) -> str | None:
    """The field of an event that a verdict is about."""
    for named in _NAMED.finditer(detail):
        name = str(next(filter(None, named.groups())))
        if name in _FIELDS:
            return name
    return None
