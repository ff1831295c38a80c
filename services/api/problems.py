"""What went wrong, as a problem document (RFC 9457), whatever it was."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import asyncpg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from services.api.schemas import Problem

MEDIA_TYPE = "application/problem+json"
_TYPE = "urn:minegnk:problem:"
_RETRY_SECONDS = "5"

_AWAY: Final = (
    OSError,  # time-outs as well
    asyncpg.PostgresConnectionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.CannotConnectNowError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_log = structlog.get_logger(__name__)


class ProblemError(Exception):
    """An answer that is a problem. `code` is one word; `detail` says what to do about it."""

    def __init__(
        self,
        status: HTTPStatus,
        code: str,
        detail: str,
        *,
        parameter: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.parameter = parameter
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer."""
        problem = Problem(
            type=_TYPE + self.code,
            title=self.status.phrase,
            status=self.status,
            detail=self.detail,
            code=self.code,
            parameter=self.parameter,
        )
        headers = {"Cache-Control": "no-store", **self.headers}
        return Response(problem.model_dump_json(exclude_none=True), self.status, headers, MEDIA_TYPE)


def not_found(what: str) -> ProblemError:
    """Nothing of that name is known."""
    return ProblemError(HTTPStatus.NOT_FOUND, "not_found", f"{what} is not known.")


def invalid(parameter: str, detail: str) -> ProblemError:
    """A parameter that cannot be used."""
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_parameter", detail, parameter=parameter)


def body_too_large() -> ProblemError:
    """A body that is longer than any that is taken."""
    return ProblemError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", "No request takes so long a body.")


def add_handlers(app: FastAPI) -> None:
    """Let the app answer every error with a problem."""
    app.add_exception_handler(ProblemError, _problem)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http)
    for away in _AWAY:
        app.add_exception_handler(away, _database_away)
    app.add_exception_handler(Exception, _unforeseen)


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, ProblemError), "registered for it alone"
    return error.response()


async def _invalid_request(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError), "registered for it alone"
    first = error.errors()[0]
    source, *place = map(str, first["loc"])
    # A parameter's name alone: what follows it is its number, or which of several types it is not.
    where = ".".join(place if source == "body" else place[:1]) or source
    return invalid(where, f"{where}: {first['msg']}.").response()


def _methods_of(request: Request) -> set[str]:
    """What this address takes. The router itself would name the methods of the first route alone."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]  # one takes whatever comes
    methods = {
        method
        for method in ("GET", "PUT", "POST", "PATCH", "DELETE")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    }
    return methods | {"HEAD"} if "GET" in methods else methods


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it alone"
    headers = error.headers
    if error.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return body_too_large().response()
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods_of(request)):
        headers = {"Allow": ", ".join(sorted(methods))}
    status = HTTPStatus(error.status_code)
    code, detail = {
        HTTPStatus.NOT_FOUND: ("not_found", "There is nothing at this address: see /api/v1/openapi.json."),
        HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", "This address does not take that method."),
    }.get(status, ("bad_request", str(error.detail)))
    return ProblemError(status, code, detail, headers=headers).response()


async def _database_away(request: Request, error: Exception) -> Response:
    if isinstance(error, ValueError):  # asyncpg: an argument that its column's type cannot hold
        return await _unforeseen(request, error)
    _log.warning("database_away", error=repr(error))
    return ProblemError(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "database_away",
        "The database does not answer: try again in some seconds.",
        headers={"Retry-After": _RETRY_SECONDS},
    ).response()


async def _unforeseen(_: Request, error: Exception) -> Response:
    _log.exception("unforeseen_error", exc_info=error)
    return ProblemError(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", "This is a defect of ours: please report it."
    ).response()
