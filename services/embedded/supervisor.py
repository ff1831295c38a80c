"""The detached process that keeps both servers of a folder running: `python -m services.embedded.supervisor DIR`.

It ends, and the servers with it, on SIGTERM or SIGINT, when its `--with-parent` process is gone, when a server ends by
itself (exit code 1), when who started it did not wait, and when its folder is removed.
"""

import argparse
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

from services.embedded import runtime
from services.embedded.files import locked_unless_taken
from services.embedded.process import ProcessIdentity
from services.embedded.servers import EmbeddedServers
from services.kernel.errors import UserError

_LOOK_EVERY_SECONDS = 0.2

log = logging.getLogger("supervisor")


class Starter:
    """Who started us, and reads what we say until both servers serve."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def tell(self, kind: str, text: str) -> bool:
        """Send a line; False when nobody reads any more."""
        try:
            os.write(self._descriptor, f"{kind}{text}\n".encode())
        except BrokenPipeError:
            return False
        return True

    def release(self) -> None:
        """Let the starter go on."""
        os.close(self._descriptor)


def supervise(directory: Path, parent: ProcessIdentity | None, starter: Starter) -> int:
    """Start both servers, watch, stop both; the exit code."""
    stop_requested = threading.Event()
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda *_: stop_requested.set())
    state = runtime.state_file(directory)
    state.unlink(missing_ok=True)

    def progress(text: str) -> None:
        log.info(text)
        starter.tell(runtime.PROGRESS, text)

    try:
        servers = EmbeddedServers(directory, progress)
        endpoints = servers.start()
    except UserError as error:
        log.error("%s", error)
        starter.tell(runtime.FAILURE, str(error))
        return 1
    try:
        if not starter.tell(runtime.PROGRESS, "ready"):
            log.info("nobody waits for the servers: stopping")
            return 1
        runtime.write_state(directory, endpoints)
        starter.release()
        return _watch(servers, state, parent, stop_requested)
    finally:
        state.unlink(missing_ok=True)
        servers.stop()
        log.info("stopped")


def _watch(
    servers: EmbeddedServers, state: Path, parent: ProcessIdentity | None, stop_requested: threading.Event
) -> int:
    while not stop_requested.wait(_LOOK_EVERY_SECONDS):
        if ended := servers.exited():
            log.error("%s ended by itself (exit code %s): stopping", ended.name, ended.exit_status())
            return 1
        if parent and not parent.running():
            log.info("process %s is gone: stopping", parent.pid)
            return 0
        if not state.exists():
            log.info("%s was removed: stopping", state)
            return 0
    log.info("asked to stop")
    return 0


def _detach(log_file: Path) -> Starter:
    """Go on as a child of nobody, with standard output for the starter only and standard error in the log."""
    if os.fork():
        os._exit(0)
    starter = Starter(os.dup(1))
    null = os.open(os.devnull, os.O_WRONLY)
    log_descriptor = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(null, 1)
    os.dup2(log_descriptor, 2)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    return starter


def main() -> int:
    """Supervise the folder of the command line, once no other supervisor does."""
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--with-parent", type=int)
    parser.add_argument("--parent-created", type=float)
    arguments = parser.parse_args()
    directory: Path = arguments.directory
    parent = arguments.with_parent and ProcessIdentity(arguments.with_parent, arguments.parent_created)
    (directory / "logs").mkdir(exist_ok=True)
    starter = _detach(directory / "logs" / "supervisor.log")
    # One that is still stopping holds the lock for a moment; one that has just begun to serve makes us superfluous.
    while not runtime.status(directory):
        with locked_unless_taken(directory / "supervisor.lock") as ours:
            if ours:
                try:
                    return supervise(directory, parent, starter)
                except BaseException:
                    log.exception("the supervisor failed")
                    starter.tell(runtime.FAILURE, f"The supervisor failed: read {directory / 'logs'} and start again.")
                    raise
        time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
