"""Running the API until it is told to stop."""

import asyncio
import gc
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import structlog
import uvicorn
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, start_http_server

from services.api.protocol import BoundedProtocol
from services.kernel.app import metrics_port
from services.kernel.errors import UnavailableError
from services.kernel.settings import ApiSettings, ServiceSettings
from services.kernel.telemetry import configure_logging

_STOP_SECONDS: Final = 5
"""For answers that are under way when it is told to stop."""

_BACKLOG: Final = 2048

_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """uvicorn's server; streams, which would never end by themselves, end with its stop."""

    def __init__(self, config: uvicorn.Config, end_streams: Callable[[], None]) -> None:
        super().__init__(config)
        self._end_streams = end_streams

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop at SIGTERM and SIGINT, with exit code 0: uvicorn would end by the signal itself afterwards."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.handle_exit, signum, None)
        yield
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(signum)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, end streams, and give answers their time."""
        self._end_streams()
        await super().shutdown(sockets)


def run(create_app: Callable[[CollectorRegistry], FastAPI], settings: ApiSettings, service: ServiceSettings) -> None:
    """Serve until SIGTERM or SIGINT. Raises UnavailableError where the port cannot be listened on."""
    configure_logging(service)
    listener = _listen(settings)
    registry = CollectorRegistry()
    if port := metrics_port("api", service):
        start_http_server(port, service.metrics_host, registry)
    app = create_app(registry)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    host, chosen = listener.getsockname()[:2]
    place = f"http://{f'[{host}]' if ':' in host else host}:{chosen}"
    # What lives as long as the process is looked at no more by the collector, and the rest more rarely: its longest
    # pauses were tens of milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    _log.info("serving", address=place, access="open" if settings.open else "keys")
    _Server(config, app.state.api.feed.end).run(sockets=[listener])


def _listen(settings: ApiSettings) -> socket.socket:
    """A listening socket, so that a taken port is told in a sentence."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UnavailableError(
            f"Port {settings.port} of {settings.host} cannot be listened on ({error.strerror}): "
            "set MINEGNK_API_PORT to a free port, or see to MINEGNK_API_HOST."
        ) from None
