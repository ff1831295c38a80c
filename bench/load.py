"""Load generators: vegeta for a fixed rate, wrk for the most that is answered.

vegeta sends at its rate whatever the answers do, so that a slow answer delays no other: what is slow is measured, not
left out.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

from services.kernel.errors import ConfigurationError

VEGETA = "vegeta"
WRK = "wrk"

_INSTALL = {
    VEGETA: "go install github.com/tsenart/vegeta/v12@latest, then have its folder in PATH",
    WRK: "Debian: apt install wrk",
}
_MILLISECOND_NS = 1e6
_REQUESTS_PER_SECOND = re.compile(r"^Requests/sec:\s+([0-9.]+)$", re.MULTILINE)
_NOT_OK = re.compile(r"^\s*Non-2xx or 3xx responses: (\d+)|^\s*Socket errors: (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class AtRate:
    """What a fixed rate met with. Times in milliseconds, from when a request was due to the end of its answer."""

    rate: int
    requests: int
    ok_share: float
    p50: float
    p99: float
    longest: float
    answer_bytes: int


def need_generators() -> None:
    """Raise ConfigurationError, saying how to install it, for a generator that is not there."""
    if missing := [f"{tool} is not installed ({how})" for tool, how in _INSTALL.items() if shutil.which(tool) is None]:
        raise ConfigurationError("; ".join(missing))


def at_rate(urls: Sequence[str], *, rate: int, seconds: int) -> AtRate:
    """Ask for the URLs in turn, so many a second."""
    targets = "".join(f"GET {url}\n" for url in islice(cycle(urls), max(len(urls), 1)))
    attack = subprocess.run(
        [VEGETA, "attack", "-rate", str(rate), "-duration", f"{seconds}s", "-timeout", "60s", "-max-workers", "2000"],
        input=targets.encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    report = subprocess.run(
        [VEGETA, "report", "-type", "json"], input=attack.stdout, stdout=subprocess.PIPE, check=True
    )
    found = json.loads(report.stdout)
    latencies = {name: value / _MILLISECOND_NS for name, value in found["latencies"].items()}
    return AtRate(
        rate=rate,
        requests=found["requests"],
        ok_share=found["success"],
        p50=latencies["50th"],
        p99=latencies["99th"],
        longest=latencies["max"],
        answer_bytes=round(found["bytes_in"]["mean"]),
    )


def most(urls: Sequence[str], *, connections: int, seconds: int, folder: Path) -> float:
    """Requests a second that are answered when each connection asks again at once.

    Raises RuntimeError when any was not answered with a success.
    """
    script = folder / "paths.lua"
    paths = ",".join(json.dumps("/" + url.split("/", 3)[3]) for url in urls)
    script.write_text(
        f"local paths, at = {{{paths}}}, 0\n"
        "request = function() at = at % #paths + 1; return wrk.format('GET', paths[at]) end\n"
    )
    arguments = ["-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", str(script), urls[0]]
    result = subprocess.run([WRK, *arguments], stdout=subprocess.PIPE, check=True, text=True)
    found = _REQUESTS_PER_SECOND.search(result.stdout)
    if found is None or _NOT_OK.search(result.stdout):
        raise RuntimeError(f"wrk did not get good answers only:\n{result.stdout}")
    return float(found[1])
