"""The file of sources and what is said about its mistakes."""

from datetime import timedelta
from pathlib import Path

import pytest

from services.ingest.outbound import is_public
from services.ingest.sources import Kind, load_sources
from services.kernel.errors import ConfigurationError
from tests.captured import REPOSITORY

GOOD = """
[[sources]]
name = "node"
kind = "gonka_api"
base_urls = ["https://node3.gonka.ai/"]
poll_interval = 60
preference = 0
requests_per_minute = 10
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "sources.toml"
    path.write_text(text)
    return path


def test_a_source_is_read_with_the_defaults_of_its_kind(tmp_path: Path) -> None:
    (source,) = load_sources(written(tmp_path, GOOD))
    assert (source.name, source.kind, source.urls) == ("node", Kind.GONKA_API, ("https://node3.gonka.ai",))
    assert source.poll_interval == timedelta(seconds=60)
    assert (source.earnings_order, source.allow_private) == (0, False)


def test_the_earnings_order_follows_the_kind_and_may_be_set(tmp_path: Path) -> None:
    text = GOOD.replace("gonka_api", "gonkascan").replace("preference = 0", "preference = 500")
    second = text.replace('"node"', '"other"').replace("gonkascan", "hyperfusion") + "earnings_order = 3\n"
    sources = load_sources(written(tmp_path, text + second))
    assert [source.earnings_order for source in sources] == [10, 3]


def test_the_sample_lists_the_public_trackers() -> None:
    sources = load_sources(REPOSITORY / "sources.toml")
    assert [source.kind for source in sources] == [Kind.HYPERFUSION, Kind.GONKA_API, Kind.GONKASCAN]
    assert all(source.requests_per_minute <= 10 for source in sources)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            ("gonka_api", "gonka"),
            "source 'node': unknown kind; set kind to one of hyperfusion, gonka_api, gonkascan, json",
        ),
        (("[[sources]]", "[[sources"), "is not valid TOML"),
        (("poll_interval = 60\n", ""), "source 'node': poll_interval is missing; add it"),
        (("poll_interval = 60", "poll_interval = 0"), "source 'node': poll_interval: "),
        (("requests_per_minute", "request_per_minute"), "source 'node': "),
        (("preference = 0", "prefrence = 0"), "unknown key 'prefrence'; remove it"),
        (('name = "node"', 'name = "No de"'), "name does not fit"),
        (('name = "node"\n', ""), "source number 1: name is missing"),
        (('name = "node"', 'name = "operator"'), "choose another name"),
        (('["https://node3.gonka.ai/"]', "[]"), "base_urls: "),
        (("[[sources]]", "x = 1\n[[sources]]"), "unknown key 'x'"),
        (("https://node3.gonka.ai/", "ftp://node3.gonka.ai"), "no http or https URL; write it like"),
        (("https://node3.gonka.ai/", "https://"), "no http or https URL"),
        (("https://node3.gonka.ai/", "https://node3.gonka.ai:99999"), "one is no URL"),
        (("https://node3.gonka.ai/", "https://node3.gonka.ai/?key=1"), "has a query or fragment"),
        (("https://node3.gonka.ai/", "https://node3.gonka.ai/#x"), "has a query or fragment"),
        (("https://node3.gonka.ai/", "http://127.0.0.1:8000"), "127.0.0.1 is not a public host"),
        (("https://node3.gonka.ai/", "http://10.1.2.3"), "set allow_private = true"),
    ],
)
def test_a_mistake_is_one_sentence_with_file_source_and_remedy(
    tmp_path: Path, change: tuple[str, str], said: str
) -> None:
    path = written(tmp_path, GOOD.replace(*change))
    with pytest.raises(ConfigurationError) as caught:
        load_sources(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert said in message
    assert message.endswith(".")
    assert "\n" not in message


def test_a_password_in_a_url_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD.replace("https://", "https://me:secret@"))
    with pytest.raises(ConfigurationError, match="user name or password; remove it") as caught:
        load_sources(path)
    assert "secret" not in str(caught.value)


def test_a_file_may_say_that_it_has_no_sources(tmp_path: Path) -> None:
    """Where all events are pushed."""
    path = tmp_path / "sources.toml"
    path.write_text("sources = []\n")
    assert load_sources(path) == ()


@pytest.mark.parametrize("text", ["", "sources = 1", "sources = [1]"])
def test_a_file_without_sources_says_what_to_add(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match="lists no sources; add a"):
        load_sources(written(tmp_path, text))


def test_a_missing_file_names_the_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="set MINEGNK_SOURCES_FILE"):
        load_sources(tmp_path / "none.toml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sources.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        load_sources(path)


def test_a_name_is_used_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="source 'node' is listed twice"):
        load_sources(written(tmp_path, GOOD + GOOD))


@pytest.mark.parametrize(("preference", "accepted"), [(421, True), (420, False), (0, False)])
def test_a_trackers_preference_exceeds_its_cache_its_interval_and_the_lag(
    tmp_path: Path, preference: int, accepted: bool
) -> None:
    text = GOOD.replace("gonka_api", "hyperfusion").replace("preference = 0", f"preference = {preference}")
    if accepted:
        assert load_sources(written(tmp_path, text))[0].preference == timedelta(seconds=preference)
    else:
        with pytest.raises(ConfigurationError, match=r"preference: \d+ s is too small; set more than 420"):
            load_sources(written(tmp_path, text))


def test_private_hosts_are_possible_when_allowed(tmp_path: Path) -> None:
    text = GOOD.replace("https://node3.gonka.ai/", "http://simulator:8000") + "allow_private = true\n"
    assert load_sources(written(tmp_path, text))[0].urls == ("http://simulator:8000",)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "db",
        "x.local",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "10.0.0.1",
        "192.168.1.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "::1",
        "fe80::1",
        "fd00::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "2002:7f00:1::",  # 6to4 of 127.0.0.1
        "64:ff9b::a00:1",  # NAT64 of 10.0.0.1
        "64:ff9b:1::808:808",
    ],
)
def test_a_host_of_this_machine_or_a_private_network_is_not_public(host: str) -> None:
    assert not is_public(host)


@pytest.mark.parametrize("host", ["node3.gonka.ai", "8.8.8.8", "2001:4860:4860::8888", "64:ff9b::808:808"])
def test_a_host_of_the_internet_is_public(host: str) -> None:
    assert is_public(host)


JSON = (
    GOOD.replace("gonka_api", "json")
    + """
[sources.json]
path = "/nodes"
nodes = "nodes[*]"
[sources.json.node]
identifier = "id"
"""
)


def test_a_tracker_may_be_described(tmp_path: Path) -> None:
    (source,) = load_sources(written(tmp_path, JSON))
    assert source.json_api is not None
    assert source.json_api.nodes.of({"nodes": [1, 2]}) == [1, 2]
    assert not source.probes_health
    (source,) = load_sources(written(tmp_path, JSON + 'health_probed = "probed"\n'))
    assert source.probes_health


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (('nodes = "nodes[*]"', 'nodes = "nodes[*"'), "'nodes[*' is no JMESPath expression"),
        (('nodes = "nodes[*]"\n', ""), "json.nodes is missing; add it"),
        (('path = "/nodes"', 'path = "nodes"'), "json.path: "),
        (('identifier = "id"', 'status = "id"'), "say where the identifier is"),
        (('identifier = "id"', 'identifier = "id"\nidentity = "id"'), "node: 'identity' is none of identifier, "),
        (('kind = "json"', 'kind = "gonka_api"'), "a source of kind json needs a table [sources.json], and no other"),
    ],
)
def test_a_mistake_in_a_description_says_what_to_do(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_sources(written(tmp_path, JSON.replace(*change)))
    assert said in str(raised.value)
    assert "source 'node'" in str(raised.value)
