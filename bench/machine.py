"""What a figure depends on: the machine and the versions."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Machine:
    """Facts to put beside figures. `load` is the load average of the minute before."""

    cores: int
    processor: str
    memory_gib: float
    python: str
    system: str
    load: float
    at: str

    @property
    def line(self) -> str:
        """All of them in a line."""
        return (
            f"{self.cores} cores, {self.processor}, {self.memory_gib:.0f} GiB, {self.system}, Python {self.python}, "
            f"load {self.load:.1f}, {self.at}"
        )


def facts() -> Machine:
    """Those of this machine, now."""
    processors = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        processor=processors[0] if processors else platform.machine(),
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30,
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()}",
        load=os.getloadavg()[0],
        at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
