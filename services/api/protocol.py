"""HTTP/1.1 as uvicorn reads it; a request's head has a bound, and what cannot be read is answered with a problem."""

from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api.problems import ProblemError

HEAD_BYTES: Final = 64 * 1024
"""Of a request's line and headers; some more where they come in one piece."""

_LINGER_SECONDS: Final = 2.0


class BoundedProtocol(HttpToolsProtocol):
    """A connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading_head = True
        self._head_bytes = 0
        self._refused = False

    def data_received(self, data: bytes) -> None:
        """Read on; what comes after a refusal is dropped."""
        if self._refused:
            return
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._reading_head else 0
        if self._head_bytes > HEAD_BYTES and not self._refused:
            self._refuse(
                ProblemError(
                    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
                    "head_too_large",
                    f"The address and the headers of a request have at most {HEAD_BYTES:,} bytes.",
                )
            )

    def on_message_begin(self) -> None:
        """A request begins."""
        self._reading_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head has been read."""
        self._reading_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self._refuse(ProblemError(HTTPStatus.BAD_REQUEST, "bad_request", msg))

    def _refuse(self, problem: ProblemError) -> None:
        self._refused = True
        response = problem.response()
        lines = [
            f"HTTP/1.1 {problem.status.value} {problem.status.phrase}".encode(),
            *(b"%b: %b" % header for header in (*self.server_state.default_headers, *response.raw_headers)),
            b"connection: close",
        ]
        self.transport.write(b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body))
        # Closed at once, what is still on its way here would make the other side forget the answer.
        self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.close)
