"""A running API, as a process of its own, and asking it."""

import http.client
import json
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import httpx

from tests.integration.pipeline import Pipeline, Worker, free_port
from tests.waiting import wait_until

PREFIX = "/api/v1"
_START_SECONDS = 60


@dataclass
class RunningApi:
    """A process `python -m services api` that is ready."""

    worker: Worker
    port: int
    client: httpx.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PREFIX}"

    @property
    def log(self) -> str:
        return self.worker.log.read_text(errors="replace")

    def ask(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self.client.request(method, f"{self.url}{path}", **arguments)

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON of a 200 answer."""
        response = self.ask("GET", path, params=parameters)
        assert response.status_code == 200, response.text
        return response.json()

    def identifiers(self, **parameters: Any) -> list[str]:
        """Those of one page of nodes."""
        return [item["identifier"] for item in self.get("/nodes", **parameters)["items"]]

    def problem(self, path: str, *, method: str = "GET", **arguments: Any) -> dict[str, Any]:
        """The problem document of an answer that must be one."""
        return problem_of(self.ask(method, path, **arguments))

    def exchange(self, request: bytes, *, more: Iterable[bytes] = ()) -> "RawAnswer":
        """Send exactly these bytes, which no client would send as they are; then `more` until an answer is there."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            with suppress(ConnectionError):  # answered before the end
                for piece in more:
                    connection.sendall(piece)
            response = http.client.HTTPResponse(connection, method=request.split(b" ", 1)[0].decode("latin-1"))
            with response:
                response.begin()
                return RawAnswer(response.status, dict(response.getheaders()), response.read())

    def raw(self, target: str | bytes, *, method: str = "GET") -> "RawAnswer":
        """Ask for exactly this target."""
        encoded = target if isinstance(target, bytes) else target.encode()
        return self.exchange(b"%b %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % (method.encode(), encoded))


@dataclass
class RawAnswer:
    """Status, headers (as they were sent) and body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def problem(self) -> dict[str, Any]:
        return _checked(self.status, self.headers["content-type"], json.loads(self.body))


def problem_of(response: httpx.Response) -> dict[str, Any]:
    """The problem document that this answer must be, checked for what every one of them has."""
    return _checked(response.status_code, response.headers["content-type"], json.loads(response.content))


def _checked(status: int, media_type: str, problem: dict[str, Any]) -> dict[str, Any]:
    assert media_type == "application/problem+json", problem
    assert problem["status"] == status >= 400, problem
    assert problem["type"] == f"urn:minegnk:problem:{problem['code']}"
    assert problem["title"]
    assert problem["detail"]
    return problem


@contextmanager
def running(pipeline: Pipeline, **environment: str) -> Iterator[RunningApi]:
    """An API with these variables that stops at the block's end."""
    port = free_port()
    worker = pipeline.start("api", **{"MINEGNK_API_PORT": str(port), **environment})
    with httpx.Client(timeout=30) as client:
        api = RunningApi(worker, port, client)
        try:
            wait_ready(api)
            yield api
        finally:
            assert worker.ended or worker.stop() == 0, str(worker)


def wait_ready(api: RunningApi) -> None:
    """Return when it has read the database."""

    def ready() -> bool:
        assert api.worker.process.poll() is None, str(api.worker)
        with suppress(httpx.TransportError):
            return api.client.get(f"http://127.0.0.1:{api.port}/readyz").status_code == 200
        return False

    wait_until(ready, _START_SECONDS)


def not_around_midnight(seconds: int = 120) -> None:
    """Wait for the new UTC day where it begins very soon: rows are written for today."""
    left = 86_400 - time.time() % 86_400
    if left < seconds:
        time.sleep(left + 1)
