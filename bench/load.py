"""Load generators: vegeta for a fixed rate, wrk for the most that is answered.

vegeta sends at its rate whatever the answers do, so that a slow answer delays no other: what is slow is measured, not
left out.
"""

import json
import re
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class Request:
    """A GET, or where there is a body, a POST."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""

    @property
    def method(self) -> str:
        """The method."""
        return "POST" if self.body else "GET"

    def target(self) -> bytes:
        """As vegeta takes it."""
        target = {"method": self.method, "url": self.url, "header": {name: [v] for name, v in self.headers.items()}}
        return json.dumps(target | {"body": b64encode(self.body.encode()).decode()}).encode()

    def lua(self) -> str:
        """As wrk takes it: an expression."""
        headers = ",".join(f"[ {_lua(name)} ]={_lua(value)}" for name, value in self.headers.items())
        path = "/" + self.url.split("/", 3)[3]
        return f"wrk.format({_lua(self.method)},{_lua(path)},{{{headers}}},{_lua(self.body) if self.body else 'nil'})"


def _lua(text: str) -> str:
    return f"[==[{text}]==]"


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


def at_rate(requests: Sequence[Request], *, rate: int, seconds: int) -> AtRate:
    """Send the requests in turn, so many a second."""
    options = ["-rate", str(rate), "-duration", f"{seconds}s", "-timeout", "60s", "-max-workers", "2000"]
    attack = subprocess.run(
        [VEGETA, "attack", "-format", "json", *options],
        input=b"".join(request.target() + b"\n" for request in requests),
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


def most(requests: Sequence[Request], *, connections: int, seconds: int, folder: Path) -> float:
    """Requests a second that are answered when each connection asks again at once.

    Raises RuntimeError when any was not answered with a success.
    """
    script = folder / "requests.lua"
    written = ",".join(request.lua() for request in requests)
    script.write_text(
        "local requests, at = {}, 0\n"
        f"init = function() requests = {{{written}}} end\n"
        "request = function() at = at % #requests + 1; return requests[at] end\n"
    )
    arguments = ["-t", "1", "-c", str(connections), "-d", f"{seconds}s", "-s", str(script), requests[0].url]
    result = subprocess.run([WRK, *arguments], stdout=subprocess.PIPE, check=True, text=True)
    found = _REQUESTS_PER_SECOND.search(result.stdout)
    if found is None or _NOT_OK.search(result.stdout):
        raise RuntimeError(f"wrk did not get good answers only:\n{result.stdout}")
    return float(found[1])
