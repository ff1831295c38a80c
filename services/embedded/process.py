"""Processes of the operating system: telling one from a later one with its number, and tying a child's life to ours."""

import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from services.kernel.errors import UnavailableError

# Linux derives a process's start from the wall clock at boot, which adjustments move by fractions of a second.
_CREATED_TOLERANCE_SECONDS = 2.0


@dataclass(frozen=True)
class ProcessIdentity:
    """A process that no later one is mistaken for: its number and when it began (seconds since 1970)."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "ProcessIdentity":
        """The identity of a running process; ProcessLookupError when there is none."""
        try:
            return cls(pid, psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            raise ProcessLookupError(f"no process {pid}") from None

    def running(self) -> bool:
        """Whether it still runs; a zombie, which only waits for its parent to take note, does not."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < _CREATED_TOLERANCE_SECONDS
            return bool(same and process.status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def kill_tree(self, patience: float = 10.0) -> None:
        """Kill it and its descendants with SIGKILL, and wait up to `patience` seconds until they are gone."""
        if not self.running():
            return
        doomed = [self]
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.pid).children(recursive=True)
            doomed += [ProcessIdentity(child.pid, child.create_time()) for child in children]
        for process in doomed:
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        deadline = time.monotonic() + patience
        while any(process.running() for process in doomed) and time.monotonic() < deadline:
            time.sleep(0.01)

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        path.write_text(json.dumps([self.pid, self.created]), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "ProcessIdentity | None":
        """The identity kept in a file; None when there is none, or it was cut off in the middle."""
        try:
            pid, created = json.loads(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        return cls(pid, created)


def runs_with(pid: int, argument: str) -> bool:
    """Whether process `pid` runs and has this argument on its command line."""
    try:
        return argument in psutil.Process(pid).cmdline()
    except psutil.Error:
        return False


def unprivileged_owner() -> tuple[int, int] | None:
    """User and group number for a program that refuses to run as root; None where we are not root."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def tied(command: Sequence[str], *, orphan_signal: signal.Signals, unprivileged: bool = False) -> list[str]:
    """The command, changed so that the kernel sends it `orphan_signal` when the thread that starts it ends (Linux).

    `unprivileged`: where we are root it runs as `unprivileged_owner`, which may still pass through folders that are
    root's alone, so that no permission of a folder has to be changed. Raises UnavailableError where that is impossible.
    """
    owner = unprivileged_owner() if unprivileged else None
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    if setpriv is None:
        if owner is not None:
            raise UnavailableError(
                f"{Path(command[0]).name} refuses to run as root and setpriv is not installed: start as another user."
            )
        return list(command)
    prefix = [setpriv, "--pdeathsig", orphan_signal.name.removeprefix("SIG")]
    if owner is not None:
        prefix += [f"--reuid={owner[0]}", f"--regid={owner[1]}", "--clear-groups"]
        prefix += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return [*prefix, "--", *command]


def run_to_end(command: Sequence[str], *, log: Path, environment: Mapping[str, str], purpose: str) -> None:
    """Run a program that prepares something; what it prints is appended to `log`.

    Raises UnavailableError, beginning with `purpose`, if it fails or takes longer than two minutes.
    """
    with log.open("ab") as output:
        try:
            subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                timeout=120,
                check=True,
            )
        except subprocess.CalledProcessError as error:
            raise UnavailableError(
                f"{purpose} failed (exit code {error.returncode}): read {log} and start again."
            ) from None
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{purpose} took more than two minutes: read {log} and start again.") from None
