"""Events that were once published decode for ever: samples of each version are kept and never changed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from services.kernel.errors import InvalidRecordError, Reason
from services.kernel.events import Event
from services.kernel.wire import EVENT_TYPES, EVENT_VERSION, decoder_for, encode
from tests.contract.records import Record

SAMPLES = Path(__file__).parent / "samples"
FILES = sorted(SAMPLES.glob("v*/*.json"))
MODES = {"alone", "binary", "structured", "base64"}
CLASSES: dict[str, type[Event]] = {name.name: event_class for event_class, name in EVENT_TYPES.items()}

samples = pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}-{file.stem}")


def read(file: Path) -> dict[str, Any]:
    sample: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return sample


def class_of(sample: dict[str, Any]) -> type[Event]:
    return CLASSES[sample["type"].rpartition(".v")[0]]


def decode(sample: dict[str, Any]) -> Event:
    headers = [(name, value.encode()) for name, value in sample["headers"].items()]
    return decoder_for(class_of(sample))(Record(sample["value"].encode(), headers))


@samples
def test_a_sample_still_decodes_to_what_it_always_meant(file: Path) -> None:
    sample = read(file)
    record = encode(decode(sample))
    assert json.loads(record.value or b"") == sample["normalised"]
    assert record.key == sample["key"].encode()


@samples
def test_what_a_sample_is_normalised_to_means_the_same(file: Path) -> None:
    sample = read(file)
    assert decode(sample | {"headers": {}, "value": json.dumps(sample["normalised"])}) == decode(sample)


@pytest.mark.parametrize("version", range(1, EVENT_VERSION + 1))
def test_no_sample_of_a_version_was_changed_or_taken_away(version: int) -> None:
    """A new sample is a new file and a new line; a file that stands there is never edited."""
    directory = SAMPLES / f"v{version}"
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in directory.glob("*.json")}
    lines = [line.split() for line in (directory / "SHA256SUMS").read_text().splitlines()]
    assert sums == {name: digest for digest, name in lines}


@pytest.mark.parametrize("version", range(1, EVENT_VERSION + 1))
@pytest.mark.parametrize("event_class", EVENT_TYPES)
def test_each_version_of_an_event_has_a_sample_of_each_mode(event_class: type[Event], version: int) -> None:
    found = [sample for sample in map(read, FILES) if sample["type"] == f"{EVENT_TYPES[event_class].name}.v{version}"]
    assert {sample["mode"] for sample in found} == MODES


@pytest.mark.parametrize("event_class", EVENT_TYPES)
def test_the_samples_of_an_event_have_each_of_its_fields(event_class: type[Event]) -> None:
    """Fails for a field that is added without a sample of it."""
    seen = {field for sample in map(read, FILES) if class_of(sample) is event_class for field in sample["normalised"]}
    assert seen == set(event_class.__struct_fields__)


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("event_class", EVENT_TYPES)
def test_the_next_version_is_refused_until_it_is_known(event_class: type[Event], mode: str) -> None:
    sample = next(s for s in map(read, FILES) if class_of(s) is event_class and s["mode"] == mode)
    known, unknown = EVENT_TYPES[event_class].versioned, f"{EVENT_TYPES[event_class].name}.v{EVENT_VERSION + 1}"
    changed = json.loads(json.dumps(sample | {"type": known}).replace(known, unknown))
    with pytest.raises(InvalidRecordError) as caught:
        decode(changed)
    assert caught.value.reason is Reason.UNSUPPORTED_VERSION
