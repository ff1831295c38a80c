"""docker-compose.yml for real: started as a newcomer does, on a simulated network, then scaled, broken and renewed."""

import json
import sys
import time
import urllib.request
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.kernel.events import READINGS_TOPIC
from tests.e2e import load
from tests.e2e.engine import Compose, engine, wait_for

# The first test's time includes building the images and starting all of it.
pytestmark = [pytest.mark.compose, pytest.mark.timeout(480)]

OURS = ("migrate", "topics", "ingest", "cache", "earnings", "api", "simulator", "exporter")
WORKERS = {"ingest": 2, "cache": 3, "earnings": 2, "api": 1}
IMAGE = "minegnk:e2e"
LAG_SECONDS = 30


@pytest.fixture(scope="module")
def compose(request: pytest.FixtureRequest) -> Iterator[Compose]:
    failed_before = request.session.testsfailed
    with engine() as found:
        project = f"minegnk-e2e-{uuid.uuid4().hex[:8]}"
        environment = {
            **found,
            "COMPOSE_PROFILES": "simulated",
            "MINEGNK_IMAGE": IMAGE,
            "MINEGNK_SOURCES": "./sources.simulated.toml",
            "MINEGNK_SIMULATOR_EPOCH_SECONDS": "15",
            "MINEGNK_API_PORT": "0",  # a free one
            "MINEGNK_PROMETHEUS_PORT": "0",
        }
        compose = Compose(project, environment)
        try:
            compose.make("up", timeout=300)
            # Of the profile observability all but Grafana, which the stand-in for a registry does not have.
            compose("up", "--detach", "exporter", "prometheus", timeout=60)
            yield compose
        finally:
            if request.session.testsfailed > failed_before:
                sys.stderr.write(compose("ps", "--all") + compose("logs", "--no-color", "--tail=30"))
            compose.make("down", timeout=120)
            compose("--profile=*", "down", "--volumes", timeout=90)
            compose.run("docker", "image", "rm", IMAGE)
            label = f"label=com.docker.compose.project={project}"
            left = compose.run("docker", "ps", "--all", "--quiet", "--filter", label)
            left += compose.run("docker", "volume", "ls", "--quiet", "--filter", label)
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


def test_scaled_workers_share_the_partitions(compose: Compose) -> None:
    compose.make("scale", "INGEST=2", "CACHE=3", "EARNINGS=2", timeout=120)
    assert {service: len(compose.containers(service)) for service in WORKERS} == WORKERS

    def shares() -> list[int]:
        return list(compose.shares("minegnk.cache", READINGS_TOPIC).values())

    wait_for("three workers with four partitions each", lambda: shares() == [4, 4, 4], timeout=90)


def test_a_command_runs_in_a_container_of_its_own(compose: Compose) -> None:
    status = json.loads(compose("run", "--rm", "-T", "minegnk", "status", "--json"))
    assert status["tables"]["nodes"] > 100


def test_a_killed_worker_and_restarts_of_the_servers_lose_nothing(compose: Compose) -> None:
    killed = compose.containers("cache")[0]
    restarts = compose.inspect(killed)["RestartCount"]
    with everything_arrives(compose, "faults", rate=500):
        # The worker is the init process's child. From outside, the engine would take a kill for a stop by hand.
        compose.run("docker", "exec", killed, "sh", "-c", "kill -9 $(cat /proc/1/task/1/children)")
        wait_for("a restart", lambda: compose.inspect(killed)["RestartCount"] > restarts)
        for server in ("postgres", "kafka"):
            began = time.monotonic()
            compose("restart", server)
            compose.wait_for_health(compose.containers(server)[0])
            sys.stdout.write(f"{server}: healthy {time.monotonic() - began:.1f} s after its restart was asked for\n")
    compose.wait_for_health(killed)


def test_prometheus_finds_every_container_and_its_rules_have_answers(compose: Compose) -> None:
    address = compose("port", "prometheus", "9090").strip()

    def ask(path: str) -> Any:
        with urllib.request.urlopen(f"http://{address}/api/v1/{path}", timeout=10) as answer:
            return json.load(answer)["data"]

    def up() -> Counter[str]:
        targets = ask("targets?state=active")["activeTargets"]
        return Counter(target["labels"]["job"] for target in targets if target["health"] == "up")

    expected = {**WORKERS, "exporter": 1, "prometheus": 1}
    wait_for("every target scraped", lambda: up() == expected, timeout=60)

    def judged() -> set[str]:
        rules = [rule for group in ask("rules")["groups"] for rule in group["rules"]]
        return {rule["health"] for rule in rules}

    wait_for("every rule evaluated", lambda: judged() == {"ok"}, timeout=40)
    found = ask("query?query=sum(minegnk_cache_nodes)")["result"]
    assert float(found[0]["value"][1]) > 100


def test_a_rolling_restart_of_every_service_loses_nothing(compose: Compose) -> None:
    before = {service: set(compose.containers(service)) for service in WORKERS}
    with everything_arrives(compose, "rolling", rate=2000):
        sys.stdout.write(compose.make("restart", timeout=300))
    after = {service: set(compose.containers(service)) for service in WORKERS}
    assert {service: len(found - before[service]) for service, found in after.items()} == WORKERS
    assert {service: len(found) for service, found in after.items()} == WORKERS


def test_a_service_that_is_told_to_stop_ends_in_order(compose: Compose) -> None:
    compose("stop", "earnings")
    assert {compose.inspect(container)["State"]["ExitCode"] for container in compose.containers("earnings")} == {0}
    compose("start", "earnings")


def test_every_container_has_kept_within_its_limits(compose: Compose) -> None:
    for container in compose("ps", "--all", "--quiet").split():
        known = compose.inspect(container)
        assert min(known["HostConfig"][limit] for limit in ("Memory", "NanoCpus", "PidsLimit")) > 0
        assert not known["State"]["OOMKilled"], known["Name"]


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


@contextmanager
def everything_arrives(compose: Compose, prefix: str, *, rate: int) -> Iterator[None]:
    """Events flow in while the body runs (tests.e2e.load); then lag ends in time, and every one of them is a row."""
    name = f"{compose.project}-{prefix}"
    source = Path(load.__file__).read_text(encoding="utf-8")
    compose("run", "--detach", "--name", name, "--entrypoint=python", "minegnk", "-c", source, str(rate), prefix)

    def said() -> list[str]:
        return compose.run("docker", "logs", name).splitlines()

    def arrived() -> list[str]:
        """How many readings there are, and reports, and what these add up to."""
        return compose.sql(
            f"WITH mine AS (SELECT id FROM nodes WHERE identifier LIKE '{prefix}/%')"
            " SELECT (SELECT sum(bit_count(healthy)) FROM mine JOIN node_uptime ON node_id = id),"
            " (SELECT count(*) FROM mine JOIN earnings_ledger ON node_id = id),"
            " (SELECT sum(amount_ngonka) FROM mine JOIN earnings_ledger ON node_id = id)"
        )[0]

    def lag() -> int:
        status = json.loads(compose("exec", "-T", "api", "minegnk", "status", "--json"))
        return sum(topic["lag"] for topic in status["topics"])

    try:
        wait_for("the first readings", said)
        yield
        last = time.monotonic()
        compose.run("docker", "stop", "--time=30", name)
        sent = json.loads(said()[-1])
    finally:
        compose.run("docker", "rm", "--force", name)
    reports = range(0, sent["readings"], load.EARNINGS_EVERY)
    expected = [str(number) for number in (sent["readings"], len(reports), sum(reports))]

    wait_for(f"all of {expected}", lambda: arrived() == expected, timeout=LAG_SECONDS)
    wait_for("no lag", lambda: lag() == 0, timeout=LAG_SECONDS)
    seconds = time.monotonic() - last
    sys.stdout.write(f"{prefix}: {sent}: 0 lost, lag back to 0 in {seconds:.1f} s\n")
    assert seconds < LAG_SECONDS
