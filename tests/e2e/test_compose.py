"""docker-compose.yml for real: built and started as a newcomer does, with the simulator and three cache workers."""

import json
import sys
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from services.kernel.events import READINGS_TOPIC
from tests.e2e.engine import Compose, docker, run, wait_for

# The first test's time includes building the images and starting all of it.
pytestmark = [pytest.mark.compose, pytest.mark.timeout(480)]

OURS = ("migrate", "topics", "ingest", "cache", "earnings", "api", "simulator", "exporter")
IMAGE = "minegnk:e2e"


@pytest.fixture(scope="module")
def compose(request: pytest.FixtureRequest) -> Iterator[Compose]:
    failed_before = request.session.testsfailed
    with docker() as engine:
        project = f"minegnk-e2e-{uuid.uuid4().hex[:8]}"
        environment = {
            "MINEGNK_IMAGE": IMAGE,
            "MINEGNK_SOURCES": "./sources.simulated.toml",
            "MINEGNK_SIMULATOR_EPOCH_SECONDS": "15",
            "MINEGNK_API_PORT": "0",  # a free one
            "MINEGNK_PROMETHEUS_PORT": "0",
        }
        compose = Compose(engine, project, "simulated", environment)
        try:
            compose("build", "--quiet", timeout=180)
            compose("up", "--detach", "--wait", "--scale=cache=3", timeout=180)
            # Of the profile observability all but Grafana, which the stand-in for a registry does not have.
            compose("up", "--detach", "exporter", "prometheus", timeout=60)
            yield compose
        finally:
            if request.session.testsfailed > failed_before:
                sys.stderr.write(compose("ps", "--all") + compose("logs", "--no-color", "--tail=30"))
            replace(compose, profile="*")("down", "--volumes", "--timeout=15", timeout=90)
            run([*engine, "image", "rm", IMAGE])
            label = f"label=com.docker.compose.project={project}"
            left = run([*engine, "ps", "--all", "--quiet", "--filter", label])
            left += run([*engine, "volume", "ls", "--quiet", "--filter", label])
            assert not left, "`down --volumes` leaves nothing behind"


def test_rows_appear_in_node_stats_cache_and_earnings_history(compose: Compose) -> None:
    def counts() -> list[int]:
        ((cached, history),) = compose.sql(
            "SELECT (SELECT count(*) FROM node_stats_cache WHERE status IS NOT NULL),"
            " (SELECT count(*) FROM earnings_history WHERE earnings_gnk > 0)"
        )
        return [int(cached), int(history)]

    wait_for("rows in both tables", lambda: min(counts()) > 100 and counts())


def test_the_page_and_the_api_answer_on_this_machine(compose: Compose) -> None:
    address = compose("port", "api", "8080").strip()
    with urllib.request.urlopen(f"http://{address}/api/v1/nodes?limit=5", timeout=10) as answer:
        page = json.load(answer)
    assert (page["total"] > 100, len(page["items"])) == (True, 5)
    with urllib.request.urlopen(f"http://{address}/", timeout=10) as answer:
        assert b"<title>" in answer.read()


def test_three_cache_workers_share_the_partitions(compose: Compose) -> None:
    assert _even_shares(compose)


def test_a_killed_worker_comes_back_and_rows_go_on(compose: Compose) -> None:
    before = _even_shares(compose)
    killed = compose.containers("cache")[0]
    restarts = compose.inspect(killed)["RestartCount"]
    # The worker is the init process's child. From outside, the engine would take a kill for a stop by hand.
    run([*compose.docker, "exec", killed, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)"])

    wait_for("a restart", lambda: compose.inspect(killed)["RestartCount"] > restarts)
    wait_for("the worker's health", lambda: compose.inspect(killed)["State"]["Health"]["Status"] == "healthy")
    after = _even_shares(compose)
    assert len(after.keys() - before.keys()) == 1, "the worker that came back is the only new one"
    _rows_go_on(compose)


def test_prometheus_finds_every_container_and_its_rules_have_answers(compose: Compose) -> None:
    address = compose("port", "prometheus", "9090").strip()

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def up() -> Counter[str]:
        targets = ask("targets?state=active")["activeTargets"]
        return Counter(target["labels"]["job"] for target in targets if target["health"] == "up")

    expected = {"ingest": 1, "cache": 3, "earnings": 1, "api": 1, "exporter": 1, "prometheus": 1}
    wait_for("every target scraped", lambda: up() == expected, timeout=60)

    def judged() -> set[str]:
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        return {rule["health"] for rule in rules}

    wait_for("every rule evaluated", lambda: judged() == {"ok"}, timeout=40)
    found = ask("query?query=sum(minegnk_cache_nodes)")["result"]
    assert float(found[0]["value"][1]) > 100


def test_a_service_that_is_told_to_stop_ends_in_order(compose: Compose) -> None:
    (container,) = compose.containers("earnings")
    compose("stop", "earnings")
    assert compose.inspect(container)["State"]["ExitCode"] == 0
    compose("start", "earnings")


@pytest.mark.parametrize("service", OURS)
def test_a_container_has_no_root_and_nothing_to_write_to(compose: Compose, service: str) -> None:
    for container in compose.containers(service):
        known = compose.inspect(container)
        assert known["Config"]["User"] == "10001:10001"
        host = known["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        published = [each for bindings in (host["PortBindings"] or {}).values() for each in bindings]
        assert {each["HostIp"] for each in published} == ({"127.0.0.1"} if service == "api" else set())


def _even_shares(compose: Compose) -> dict[str, int]:
    """Each worker's share of the readings' partitions, once they are four each."""

    def shares() -> dict[str, int]:
        held = compose.shares("minegnk.cache", READINGS_TOPIC)
        return held if list(held.values()) == [4, 4, 4] else {}

    return wait_for("three workers with four partitions each", shares, timeout=90)


def _rows_go_on(compose: Compose) -> None:
    """Wait until the rows of nearly all nodes are newer than now: no partition is left behind."""
    ((now, fresh),) = compose.sql(
        "SELECT now(), count(*) FILTER (WHERE fetched_at > now() - interval '1 minute') FROM node_stats_cache"
    )
    assert int(fresh) > 100
    newer = f"SELECT count(*) FROM node_stats_cache WHERE fetched_at > '{now}'"
    wait_for(f"newer rows of {fresh} nodes", lambda: int(compose.sql(newer)[0][0]) >= 0.9 * int(fresh))
