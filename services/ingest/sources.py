"""The trackers that ingest follows: the TOML file of MINEGNK_SOURCES_FILE.

Every mistake in it is a ConfigurationError: one sentence that names the file and the source and says what to do.
"""

import re
import tomllib
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from services.ingest.mapping import Mapped
from services.ingest.outbound import is_public
from services.kernel.errors import ConfigurationError
from services.kernel.events import OPERATOR_SOURCE

MAX_CACHE_AGE = timedelta(seconds=300)
"""The oldest cache that a tracker serves with 200 (gonka-tracker, `reload=false`)."""

LAG = timedelta(seconds=60)
"""From a tracker's answer to the merged row, at worst in normal running."""

_NAME = r"[a-z0-9][a-z0-9_.-]{0,49}"


class Kind(StrEnum):
    """Which adapter reads a source."""

    HYPERFUSION = "hyperfusion"
    GONKA_API = "gonka_api"
    GONKASCAN = "gonkascan"
    JSON = "json"


_PREFERENCE = {
    Kind.HYPERFUSION: timedelta(seconds=600),
    Kind.GONKASCAN: timedelta(seconds=480),
    Kind.GONKA_API: timedelta(0),
    Kind.JSON: timedelta(0),
}
_EARNINGS_ORDER = {Kind.GONKA_API: 0, Kind.GONKASCAN: 10, Kind.HYPERFUSION: 20, Kind.JSON: 30}

Interval = Annotated[timedelta, Field(gt=timedelta(0), le=timedelta(days=1))]


class Source(BaseModel):
    """One tracker: where it is, how often it is asked and how its answers rank among the others'."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=f"^{_NAME}$")]
    kind: Kind
    base_urls: Annotated[tuple[str, ...], Field(min_length=1)]
    poll_interval: Interval
    preference: Annotated[timedelta, Field(ge=timedelta(0), le=timedelta(days=1))]
    """The merge's advantage of this source over the others, as time."""
    requests_per_minute: Annotated[int, Field(ge=1, le=6000)]
    """The budget of each host among the base URLs."""
    earnings_order: Annotated[int, Field(ge=0, le=1_000_000)]
    """Whose epoch amounts win where several sources report one: the lowest."""
    allow_private: bool = False
    timeout: Interval = timedelta(seconds=20)
    """The limit of one request."""
    json_api: Annotated[Mapped | None, Field(alias="json")] = None
    """How a source of kind `json` is read."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_kind(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("kind") in set(Kind):
            kind = Kind(values["kind"])
            return {"preference": _PREFERENCE[kind], "earnings_order": _EARNINGS_ORDER[kind], **values}
        return values

    @model_validator(mode="after")
    def _checked(self) -> "Source":
        if self.name == OPERATOR_SOURCE:
            raise ValueError(f"name: {OPERATOR_SOURCE!r} is what people's own entries are called; choose another name")
        for url in self.base_urls:
            problem = url_problem(url, allow_private=self.allow_private)
            if problem:
                raise ValueError(f"base_urls: {problem}")
        if (self.kind is Kind.JSON) != (self.json_api is not None):
            raise ValueError("json: a source of kind json needs a table [sources.json], and no other has one")
        needed = MAX_CACHE_AGE + self.poll_interval + LAG
        if self.kind in (Kind.HYPERFUSION, Kind.GONKASCAN) and self.preference <= needed:
            raise ValueError(
                f"preference: {self.preference.total_seconds():g} s is too small; set more than "
                f"{needed.total_seconds():g} (the oldest cache it serves, its poll_interval and the lag)"
            )
        return self

    @property
    def probes_health(self) -> bool:
        """Whether it asks each host for its health: only such sources count for uptime."""
        return self.kind is not Kind.GONKA_API if self.json_api is None else self.json_api.probes_health

    @property
    def urls(self) -> tuple[str, ...]:
        """The base URLs without a slash at the end."""
        return tuple(url.rstrip("/") for url in self.base_urls)


def url_problem(url: str, *, allow_private: bool) -> str | None:
    """What is wrong with a base URL, as the end of a sentence that says what to do; None for a good one."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "one is no URL; write it like https://node3.gonka.ai"
    # The URL itself is not repeated where it may hold a password.
    if parts.username is not None or parts.password is not None:
        return "one holds a user name or password; remove it"
    if parts.scheme not in ("http", "https") or not host or re.search(r"[\s\\\x00-\x1f]", url):
        return "one is no http or https URL; write it like https://node3.gonka.ai"
    if "?" in url or "#" in url:
        return f"one at {host} has a query or fragment; write only what comes before the tracker's own paths"
    if not allow_private and not is_public(host):
        return f"{host} is not a public host; use a public one or set allow_private = true"
    return None


def load_sources(path: Path) -> tuple[Source, ...]:
    """The sources of the file, in its order. Raises ConfigurationError."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: there is no such file; set MINEGNK_SOURCES_FILE to the file that lists the trackers."
        ) from None
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); make it readable.") from None
    except UnicodeDecodeError:
        raise ConfigurationError(f"{path}: is not UTF-8; save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path}: is not valid TOML ({error}); correct that place.") from None
    unknown = sorted(set(document) - {"sources"})
    if unknown:
        raise ConfigurationError(f"{path}: unknown key {unknown[0]!r}; only [[sources]] tables belong there.")
    entries = document.get("sources")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigurationError(
            f"{path}: lists no sources; add a [[sources]] table for each tracker, or `sources = []` if all events are "
            "pushed."
        )
    sources = tuple(_source(path, number, entry) for number, entry in enumerate(entries, start=1))
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(f"{path}: source {name!r} is listed twice; give each source a name of its own.")
    return sources


def _source(path: Path, number: int, entry: dict[str, Any]) -> Source:
    try:
        return Source.model_validate(entry)
    except ValidationError as error:
        name = entry.get("name")
        label = repr(name[:60]) if isinstance(name, str) else f"number {number}"
        raise ConfigurationError(f"{path}: source {label}: {_sentence(error)}.") from None


def _sentence(error: ValidationError) -> str:
    """The first mistake and its remedy."""
    first = error.errors(include_url=False, include_input=False)[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "missing":
        return f"{field} is missing; add it"
    if first["type"] == "extra_forbidden":
        return f"unknown key {field!r}; remove it or correct its spelling"
    if field == "kind":
        return f"unknown kind; set kind to one of {', '.join(Kind)}"
    if field == "name":
        return "name does not fit; use 1 to 50 of a-z, 0-9, '_', '.', '-', starting with a letter or digit"
    message = first["msg"].removeprefix("Value error, ")
    return f"{field}: {message[0].lower()}{message[1:]}; set it right" if field else message
