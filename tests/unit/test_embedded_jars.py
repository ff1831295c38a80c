"""Kafka's jars: downloaded from a Maven repository, checked, kept."""

import functools
import hashlib
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from services.embedded.jars import Jar, provide_jars, read_lock
from services.kernel.errors import UnavailableError


@dataclass
class MavenRepository:
    """A real HTTP server over a folder in Maven's layout."""

    url: str
    folder: Path
    requests: list[str] = field(default_factory=list)

    def publish(self, artifact: str, content: bytes, classifier: str = "") -> Jar:
        jar = Jar("org.example", artifact, "1.0", classifier, hashlib.sha256(content).hexdigest())
        path = self.folder / "org" / "example" / artifact / "1.0" / jar.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return jar

    def downloads(self) -> list[str]:
        return sorted(Path(path).name for path in self.requests if path.endswith(".jar"))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MavenRepository]:
    folder = tmp_path / "repository"
    folder.mkdir()
    requests: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: Any) -> None:
            requests.append(self.path)

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("MINEGNK_MAVEN_MIRROR", url)
    yield MavenRepository(url, folder, requests)
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_lock_pins_every_jar_with_a_checksum() -> None:
    jars = read_lock()
    assert len(jars) == 46
    assert {jar.version for jar in jars if jar.group == "org.apache.kafka"} == {"4.3.1"}
    assert all(len(jar.sha256) == 64 for jar in jars)
    assert len({jar.filename for jar in jars}) == len(jars)


def test_jars_are_downloaded_once(repository: MavenRepository, tmp_path: Path) -> None:
    jars = [repository.publish("a", b"first"), repository.publish("b", b"second", classifier="linux")]
    paths = provide_jars(jars, tmp_path / "cache")
    assert [path.read_bytes() for path in paths] == [b"first", b"second"]
    assert provide_jars(jars, tmp_path / "cache") == paths
    assert repository.downloads() == ["a-1.0.jar", "b-1.0-linux.jar"]


def test_a_damaged_jar_is_downloaded_again(repository: MavenRepository, tmp_path: Path) -> None:
    jars = [repository.publish("a", b"first"), repository.publish("b", b"second")]
    damaged, _ = provide_jars(jars, tmp_path / "cache")
    damaged.write_bytes(b"fir")
    provide_jars(jars, tmp_path / "cache")
    assert damaged.read_bytes() == b"first"
    assert repository.downloads() == ["a-1.0.jar", "a-1.0.jar", "b-1.0.jar"]


def test_a_jar_with_another_checksum_is_refused_by_name(repository: MavenRepository, tmp_path: Path) -> None:
    jar = replace(repository.publish("a", b"something else"), sha256="0" * 64)
    with pytest.raises(UnavailableError, match=r"org\.example:a:1\.0 arrived with another SHA-256"):
        provide_jars([jar], tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*.jar"))


def test_a_jar_that_is_missing_is_named(repository: MavenRepository, tmp_path: Path) -> None:
    jar = Jar("org.example", "nowhere", "1.0", "", "0" * 64)
    with pytest.raises(UnavailableError, match=r"org\.example:nowhere:1\.0 could not be downloaded \(not found\)"):
        provide_jars([jar], tmp_path / "cache")


def test_no_repository_is_one_sentence_that_names_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINEGNK_MAVEN_MIRROR", "http://127.0.0.1:1")
    with pytest.raises(UnavailableError, match=r"org\.example:a:1\.0 .*ConnectionError.* MINEGNK_MAVEN_MIRROR"):
        provide_jars([Jar("org.example", "a", "1.0", "", "0" * 64)], tmp_path / "cache")


def test_two_processes_at_once_download_each_jar_once(repository: MavenRepository, tmp_path: Path) -> None:
    jars = [repository.publish(f"jar{number}", os.urandom(100_000)) for number in range(5)]
    program = (
        "from pathlib import Path; from services.embedded.jars import Jar, provide_jars; "
        f"provide_jars({jars!r}, Path({str(tmp_path / 'cache')!r}))"
    )
    both = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [process.wait(30) for process in both] == [0, 0]
    assert repository.downloads() == [jar.filename for jar in jars]
