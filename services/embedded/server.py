"""A server program in a folder: the life that PostgreSQL and Kafka have in common."""

import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

from services.embedded.process import ProcessIdentity, run_to_end, tied
from services.kernel.errors import UnavailableError


class Server(ABC):
    """prepare → start → wait_ready → stop (or kill) → start …, always on the same port and data.

    Not for several threads at once. The program ends with the process that started it, even after a kill -9 of it
    (Linux); elsewhere, and when the two just overlap, the next `start` on the folder ends it first.
    """

    name: ClassVar[str]
    # What ends it in good order, and what the kernel sends when our process is gone.
    stop_signal: ClassVar[signal.Signals]
    orphan_signal: ClassVar[signal.Signals]
    unprivileged: ClassVar[bool] = False

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.logs = directory / "logs"
        self._output = self.logs / f"{self.name.lower()}.out"
        self._pid_file = directory / f"{self.name.lower()}.pid"
        self._process: subprocess.Popen[bytes] | None = None
        # The kernel ties a child to the thread that started it: this one lives as long as this object.
        self._launcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{self.name}-launcher")

    @abstractmethod
    def prepare(self) -> None:
        """Create what the first start needs; nothing when it is there. Raises UnavailableError."""

    @abstractmethod
    def _command(self) -> Sequence[str]: ...

    @abstractmethod
    def _environment(self) -> Mapping[str, str]: ...

    @abstractmethod
    def _answers(self) -> bool:
        """Whether clients are served now."""

    @property
    def pid(self) -> int | None:
        """The program's process number, None while it is not started."""
        return self._process.pid if self._process else None

    def exit_status(self) -> int | None:
        """Exit code of a program that ended by itself; None while it runs, and while it is not started."""
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Start the program; `wait_ready` tells when it serves."""
        if self._process is not None:
            raise RuntimeError(f"{self.name} was already started")
        if leftover := ProcessIdentity.read(self._pid_file):
            leftover.kill_tree()
        self.logs.mkdir(parents=True, exist_ok=True)
        command = tied(self._command(), orphan_signal=self.orphan_signal, unprivileged=self.unprivileged)
        with self._output.open("ab") as output:
            self._process = self._launcher.submit(
                subprocess.Popen,
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=dict(self._environment()),
                process_group=0,  # a Ctrl-C at the terminal is ours to handle
            ).result()
        ProcessIdentity.of(self._process.pid).write(self._pid_file)

    def wait_ready(self, time_limit: float = 60.0) -> None:
        """Return when clients are served. Raises UnavailableError if that takes longer than `time_limit` seconds."""
        deadline = time.monotonic() + time_limit
        while not self._answers():
            if self.exit_status() is not None:
                raise UnavailableError(f"{self.name} ended while it was starting: read {self.logs}, start again.")
            if time.monotonic() > deadline:
                raise UnavailableError(
                    f"{self.name} did not answer within {time_limit:.0f} seconds: read {self.logs}, start again."
                )
            time.sleep(0.05)

    def stop(self, patience: float = 30.0) -> None:
        """End the program in good order, by force after `patience` seconds; nothing when it is not started."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(self.stop_signal)
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self.kill()
        else:
            self._forget()

    def kill(self) -> None:
        """End the program and its children at once with SIGKILL, as a power cut would."""
        if self._process is None:
            return
        if self._process.poll() is None:
            ProcessIdentity.of(self._process.pid).kill_tree()
            self._process.wait()
        self._forget()

    def _forget(self) -> None:
        self._process = None
        self._pid_file.unlink(missing_ok=True)

    def _run(self, command: Sequence[str], purpose: str) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        run_to_end(
            tied(command, orphan_signal=signal.SIGKILL, unprivileged=self.unprivileged),
            log=self._output,
            environment=self._environment(),
            purpose=purpose,
        )
