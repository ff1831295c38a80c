"""The alert rules fire when they should and ask for what exists, as does the dashboard; each has its section."""

import json
import os
import re
import shlex
import shutil
import subprocess
from typing import Any

import pytest
import typer
import yaml

from services.cli.main import create_app
from services.cli.metrics import every_metric
from services.kernel.app import DEFAULT_METRICS_PORTS
from tests.e2e.engine import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
SERIES = {series: metric for metric in every_metric() for series in metric.series}


@pytest.fixture(scope="module")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        assert "CI" not in os.environ, ".ci/run brings promtool"
        pytest.skip("needs promtool (Debian: apt install prometheus)")
    return found


@pytest.mark.parametrize(
    "arguments", ["check config prometheus.yml", "check rules --lint-fatal alerts.yml", "test rules alerts.test.yml"]
)
def test_prometheus_own_tool_finds_nothing(promtool: str, arguments: str) -> None:
    done = subprocess.run(
        [promtool, *arguments.split()], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_seen_to_fire_and_not_to_fire() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    alerts = sorted(rule["alert"] for rule in RULES)
    assert sorted({case["alertname"] for case in cases if case.get("exp_alerts")}) == alerts
    assert sorted({case["alertname"] for case in cases if not case.get("exp_alerts")}) == alerts


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_its_section_which_says_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    section = re.search(rf"^## {rule['alert']}\n(.*?)(?=^## |\Z)", RUNBOOK, flags=re.MULTILINE | re.DOTALL)
    assert section is not None
    assert re.findall(r"^\*\*(.*?):\*\*", section[1], flags=re.MULTILINE) == ["Means", "Look at", "Do"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    assert_known(rule["expr"])
    shown = {label for text in rule["annotations"].values() for label in re.findall(r"\$labels\.(\w+)", text)}
    assert shown <= labels_of(rule["expr"])


def test_the_scraped_ports_are_those_of_the_services() -> None:
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    found = {job["job_name"]: job["dns_sd_configs"][0] for job in jobs if "dns_sd_configs" in job}
    assert {name: config["port"] for name, config in found.items()} == DEFAULT_METRICS_PORTS
    assert all(config["names"] == [name] for name, config in found.items())


def test_every_command_of_the_runbook_exists() -> None:
    commands = re.findall(r"(?:`|^    |exec \w+ )(minegnk [a-z][^`#…]*)", RUNBOOK, flags=re.MULTILINE)
    assert len(commands) > 15
    for command in commands:
        words = shlex.split(command)[1:]
        found: Any = typer.main.get_command(create_app())
        while commands_of_it := getattr(found, "commands", None):
            assert words[0] in commands_of_it, command
            found = commands_of_it[words.pop(0)]
        options = {name for parameter in found.params for name in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options, command


def test_the_dashboard_asks_for_what_exists() -> None:
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "dashboards" / "minegnk.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    assert len(queries) > 15
    for query in queries:
        assert_known(query)
    (source,) = yaml.safe_load(
        (ROOT / "deploy" / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )["datasources"]
    used = {target["datasource"]["uid"] for panel in dashboard["panels"] for target in panel.get("targets", ())}
    assert used == {source["uid"]}
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))


def assert_known(query: str) -> None:
    """Every series and label of the query is one of the reference."""
    names = set(re.findall(r"\b(minegnk_\w+)", query))
    assert names <= SERIES.keys(), f"{names - SERIES.keys()} in {query}"
    for name, selected in re.findall(r"\b(minegnk_\w+)\{(.*?)\}", query):
        assert set(re.findall(r"(\w+)\s*=?[=~!]", selected)) <= {*SERIES[name].labels, "job", "instance", "le"}, query
    for grouped in re.findall(r"\b(?:by|on|without|ignoring)\s*\((.*?)\)", query):
        assert set(re.findall(r"\w+", grouped)) <= labels_of(query), query


def labels_of(query: str) -> set[str]:
    """The labels that the query's series have."""
    names = re.findall(r"\b(minegnk_\w+)", query)
    return {label for name in names for label in SERIES[name].labels} | {"job", "instance", "le"}
