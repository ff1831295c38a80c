"""PostgreSQL and Kafka in a folder, as a detached process: start, stop, status. Linux and macOS."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from services.embedded.files import locked, write_private
from services.embedded.jars import Progress
from services.embedded.process import ProcessIdentity
from services.embedded.servers import Endpoints
from services.kernel.errors import ConfigurationError, UnavailableError

# What the supervisor tells who started it, a line each.
PROGRESS, FAILURE = "progress ", "failure "

_STOP_PATIENCE_SECONDS = 60.0


def start(directory: Path, *, with_parent: int | None = None, on_progress: Progress | None = None) -> Endpoints:
    """Start both servers in `directory` (created if need be) and return when they serve.

    They go on after this process unless `with_parent`, a process number, is given: then they end with that process.
    Where they run already they are left as they are. Any number of processes may call this at the same moment.
    Raises ConfigurationError for a parent or folder that cannot be, UnavailableError for what did not start.
    """
    parent = _parent(with_parent)
    directory = directory.absolute()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"{directory} cannot be created ({error.strerror}): choose another folder.") from None
    with locked(directory / "start.lock"):
        if running := status(directory):
            return running
        failure = _launch_supervisor(directory, parent, on_progress)
        if running := status(directory):
            return running
    raise UnavailableError(failure or f"The servers ended while they started: read {directory / 'logs'}, start again.")


def stop(directory: Path) -> bool:
    """Stop both servers in good order and return when they are gone; False when they did not run."""
    directory = directory.absolute()
    if not directory.is_dir():
        return False
    with locked(directory / "start.lock"):
        supervisor = _read_state(directory)
        if supervisor is None or not supervisor[0].running():
            return False
        identity, _ = supervisor
        os.kill(identity.pid, signal.SIGTERM)
        deadline = time.monotonic() + _STOP_PATIENCE_SECONDS
        while identity.running():
            if time.monotonic() > deadline:
                identity.kill_tree()
            time.sleep(0.02)
    return True


def status(directory: Path) -> Endpoints | None:
    """Where the servers of `directory` serve; None when they do not run."""
    state = _read_state(directory.absolute())
    if state is None or not state[0].running():
        return None
    return state[1]


def write_state(directory: Path, endpoints: Endpoints) -> None:
    """Say that both servers serve (the supervisor's part of `status`)."""
    state = {"created": ProcessIdentity.of(endpoints.pid).created, "endpoints": asdict(endpoints)}
    write_private(state_file(directory), json.dumps(state))


def state_file(directory: Path) -> Path:
    """The file that is there while both servers serve."""
    return directory / "state.json"


def _read_state(directory: Path) -> tuple[ProcessIdentity, Endpoints] | None:
    try:
        state = json.loads(state_file(directory).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    endpoints = Endpoints(**state["endpoints"])
    return ProcessIdentity(endpoints.pid, state["created"]), endpoints


def _parent(pid: int | None) -> ProcessIdentity | None:
    if pid is None:
        return None
    try:
        return ProcessIdentity.of(pid)
    except ProcessLookupError:
        raise ConfigurationError(f"Process {pid} does not run: give the number of a process that does.") from None


def _launch_supervisor(directory: Path, parent: ProcessIdentity | None, on_progress: Progress | None) -> str | None:
    """Start the supervisor, follow it until it has both servers or gives up (then: why)."""
    arguments = [str(directory)]
    if parent:
        arguments += ["--with-parent", str(parent.pid), "--parent-created", repr(parent.created)]
    environment = dict(os.environ)
    if certificates := environment.get("SSL_CERT_FILE"):
        # jgo downloads with requests, which knows this under another name only.
        environment.setdefault("REQUESTS_CA_BUNDLE", environment.get("CURL_CA_BUNDLE", certificates))
    failure = None
    with subprocess.Popen(
        [sys.executable, "-m", "services.embedded.supervisor", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        # where this very package is found, whatever the caller's folder holds
        cwd=Path(__file__).parents[2],
        env=environment,
        text=True,
        start_new_session=True,
    ) as launcher:
        assert launcher.stdout is not None
        for line in launcher.stdout:
            if line.startswith(FAILURE):
                failure = line.removeprefix(FAILURE).strip()
            elif line.startswith(PROGRESS) and on_progress:
                on_progress(line.removeprefix(PROGRESS).strip())
    return failure
