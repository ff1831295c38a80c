"""deploy/kubernetes suits Kubernetes' own schemas, the services, and the compose file."""

import re
import tomllib
from datetime import timedelta
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from services.cli.main import create_app
from services.cli.settings import kinds, variables
from services.kernel.app import DEFAULT_METRICS_PORTS
from services.kernel.settings import ApiSettings, PushSettings, ServiceSettings, load
from services.kernel.topics import TOPICS
from tests.documents import ROOT
from tests.kubernetes.kustomize import Object, build, containers

FOLDER = ROOT / "deploy" / "kubernetes"
OVERLAY = build(FOLDER / "overlays" / "production")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))["services"]
OLDEST, NEWEST = "1.31", "1.37"
SERVICES = ("ingest", "cache", "earnings", "api", "exporter")
JOBS = ("migrate", "topics")
SECRET_KEYS = {"kafka-username", "kafka-password", "db-username", "db-password"}
"""What docs/kubernetes.md says that a Secret holds."""


def of_kind(kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in OVERLAY if each["kind"] == kind}


def named(each: Object) -> str:
    return f"{each['kind']}/{each['metadata']['name']}"


WORKLOADS = of_kind("Deployment") | of_kind("Job")
POLICIES = of_kind("NetworkPolicy")
CONFIG = {name: each["data"] for name, each in of_kind("ConfigMap").items()}
PODS: dict[str, Object] = {name: each["spec"]["template"]["spec"] for name, each in WORKLOADS.items()}
CONTAINERS = {name: containers(each)[0] for name, each in WORKLOADS.items()}
LABELS: dict[str, dict[str, str]] = {
    name: each["spec"]["template"]["metadata"]["labels"] for name, each in WORKLOADS.items()
}


def environment(name: str) -> dict[str, str]:
    """The variables of a workload; one from a Secret has the name of its key for a value."""
    found = {
        key: value
        for source in CONTAINERS[name]["envFrom"]
        for key, value in CONFIG[source["configMapRef"]["name"]].items()
    }
    for variable in CONTAINERS[name]["env"]:
        found[variable["name"]] = (
            variable["value"] if "value" in variable else variable["valueFrom"]["secretKeyRef"]["key"]
        )
    return found


def selected(selector: Object) -> set[str]:
    """The workloads whose pods a label selector matches."""

    def matches(labels: dict[str, str]) -> bool:
        for rule in selector.get("matchExpressions", []):
            assert rule["operator"] == "NotIn"
            if labels.get(rule["key"]) in rule["values"]:
                return False
        wanted: dict[str, str] = selector.get("matchLabels", {})
        return wanted.items() <= labels.items()

    return {name for name, labels in LABELS.items() if matches(labels)}


def ports(name: str) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for port in CONTAINERS[name].get("ports", [])}


def mebibytes(quantity: str) -> int:
    """Of memory, as Kubernetes and compose write it."""
    found = re.fullmatch(r"(?:\$\{\w+:-)?(\d+)(m|Mi|g|Gi)\}?", quantity)
    assert found is not None, quantity
    return int(found[1]) * (1024 if found[2].lower().startswith("g") else 1)


def cores(quantity: str) -> float:
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "built", [each for each in OVERLAY if not each["apiVersion"].startswith("keda.sh/")], ids=named
)
def test_every_object_suits_the_schemas_of_kubernetes(built: Object, version: str) -> None:
    assert kubernetes_validate.validate(built, version, strict=True) == version


def test_an_object_with_a_mistake_does_not_suit_them() -> None:
    (cache,) = [each for each in build(FOLDER / "base") if named(each) == "Deployment/cache"]
    cache["spec"]["template"]["spec"]["terminationGracePeriod"] = 15
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(cache, NEWEST, strict=True)


def test_it_is_what_the_compose_file_runs() -> None:
    assert set(of_kind("Deployment")) == set(SERVICES)
    assert set(of_kind("Job")) == set(JOBS)
    for name, container in CONTAINERS.items():
        command, *options = container["args"]
        assert [command] == COMPOSE[name]["command"]
        assert CliRunner().invoke(create_app(), [*container["args"], "--help"]).exit_code == 0, "no such option"
        assert options == (["--replication-factor=3"] if name == "topics" else [])
        assert container["image"] == "registry.example/minegnk:0.1.0"
    images = {container["image"] for each in build(FOLDER / "base") for container in containers(each)}
    assert {f"${{MINEGNK_IMAGE:-{image}}}" for image in images} == {COMPOSE["cache"]["image"]}


def test_limits_are_those_of_the_compose_file_where_it_has_some() -> None:
    for name, container in CONTAINERS.items():
        limits = container["resources"]["limits"]
        if "deploy" in COMPOSE[name]:
            of_compose = COMPOSE[name]["deploy"]["resources"]["limits"]
            assert mebibytes(limits["memory"]) == mebibytes(of_compose["memory"]), name
            assert cores(limits["cpu"]) == cores(of_compose["cpus"]), name
        requests = container["resources"]["requests"]
        assert mebibytes(requests["memory"]) <= mebibytes(limits["memory"]), name
        assert cores(requests["cpu"]) <= cores(limits["cpu"]), name


def test_a_pod_has_as_long_to_stop_as_a_container_of_the_compose_file() -> None:
    for name in SERVICES:
        pause = CONTAINERS[name].get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert PODS[name]["terminationGracePeriodSeconds"] - pause == int(COMPOSE[name]["stop_grace_period"][:-1]), name
    # Whoever sends requests hears only later that a pod is leaving.
    assert {name for name in SERVICES if "lifecycle" in CONTAINERS[name]} == set(of_kind("Service"))


def test_no_pod_can_do_more_than_it_needs() -> None:
    user = re.search(r"^USER (\d+):(\d+)$", (ROOT / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    assert user is not None
    for name, pod in PODS.items():
        assert pod["securityContext"] == {
            "runAsNonRoot": True,
            "runAsUser": int(user[1]),
            "runAsGroup": int(user[2]),
            "fsGroup": int(user[2]),
            "seccompProfile": {"type": "RuntimeDefault"},
        }, name
        assert pod["automountServiceAccountToken"] is pod["enableServiceLinks"] is False, name
        assert pod["shareProcessNamespace"] is True, name
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, name
        writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
        assert writable == COMPOSE[name]["tmpfs"], name


def test_a_rollout_takes_no_pod_away_before_its_successor_is_ready() -> None:
    for name in SERVICES:
        assert WORKLOADS[name]["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}, name


def test_probes_ask_what_the_services_answer() -> None:
    paths = {"startupProbe": "/livez", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for name in SERVICES:
        for probe, path in paths.items():
            asked = CONTAINERS[name][probe]["httpGet"]
            assert asked == {"path": path, "port": "http" if name == "api" else "metrics"}, name
        startup = CONTAINERS[name]["startupProbe"]
        allowed = timedelta(seconds=startup["periodSeconds"] * startup["failureThreshold"])
        assert allowed == timedelta(seconds=int(COMPOSE[name]["healthcheck"]["start_period"][:-1])), name


def test_ports_are_those_on_which_the_services_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SERVICES:
        with monkeypatch.context() as here:
            for variable, value in environment(name).items():
                here.setenv(variable, value)
            expected = {"metrics": DEFAULT_METRICS_PORTS[name]}
            assert load(ServiceSettings).metrics_port == DEFAULT_METRICS_PORTS[name]
            if name == "api":
                api = load(ApiSettings)
                expected["http"] = api.port
                assert (api.host, api.open) == ("0.0.0.0", False)
            if name == "ingest":
                push = load(PushSettings)
                expected["push"] = push.port
                assert push.host == "0.0.0.0"
            assert ports(name) == expected


def test_every_variable_is_a_setting() -> None:
    every = [variable for kind in kinds() for variable in variables(kind)]
    known = {variable.name for variable in every} | {f"{variable.name}_FILE" for variable in every if variable.secret}
    secret = {variable.name for variable in every if variable.secret}
    for name in WORKLOADS:
        assert environment(name).keys() - known == set(), name
        assert environment(name).keys() & secret == set(), f"{name}: secrets come as files"


def test_every_file_that_a_variable_names_is_mounted() -> None:
    for name, pod in PODS.items():
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert len(volumes) == len(pod["volumes"]), name
        files = {"/tmp"}
        for mount in CONTAINERS[name]["volumeMounts"]:
            volume = volumes.pop(mount["name"])
            if "configMap" in volume:
                config = volume["configMap"]["name"]
                keys = CONFIG[config].keys() if config in CONFIG else {"kafka.pem", "postgres.pem"}
                files |= {f"{mount['mountPath']}/{key}" for key in keys}
            elif "secret" in volume:
                assert volume["secret"]["secretName"] == f"{name}-logins"
                files |= {f"{mount['mountPath']}/{key}" for key in SECRET_KEYS}
        assert volumes == {}, f"{name}: not mounted"
        variables_of_files = {variable for variable in environment(name) if re.search("_FILE$|ROOTCERT$", variable)}
        assert {environment(name)[variable] for variable in variables_of_files} <= files, name


def test_every_login_comes_from_the_secret_of_its_service() -> None:
    for name, container in CONTAINERS.items():
        asked = {each["valueFrom"]["secretKeyRef"]["name"] for each in container["env"] if "valueFrom" in each}
        assert asked == {f"{name}-logins"}
    logins = {
        name: environment(name).keys() & {"DB_PASSWORD_FILE", "MINEGNK_KAFKA_SASL_PASSWORD_FILE"} for name in PODS
    }
    for name in PODS:
        assert ("DB_PASSWORD_FILE" in logins[name]) == ("DB_PASSWORD" in COMPOSE[name]["environment"]), name
        assert ("MINEGNK_KAFKA_SASL_PASSWORD_FILE" in logins[name]) == (name != "migrate"), name
    assert of_kind("Secret") == {}


def test_ingest_follows_the_trackers_of_the_repository() -> None:
    assert CONFIG["sources"]["sources.toml"] == (ROOT / "sources.toml").read_text("utf-8")


def test_selectors_find_the_pods_of_their_service() -> None:
    for name in SERVICES:
        assert selected(WORKLOADS[name]["spec"]["selector"]) == {name}
    for name, service in of_kind("Service").items():
        assert selected({"matchLabels": service["spec"]["selector"]}) == {name}
        (port,) = service["spec"]["ports"]
        assert ports(name)[port["targetPort"]] == port["port"]
    for name, budget in of_kind("PodDisruptionBudget").items():
        assert selected(budget["spec"]["selector"]) == {name}
        assert budget["spec"]["maxUnavailable"] == 1
    assert set(of_kind("PodDisruptionBudget")) == set(SERVICES) - {"exporter"}
    (ingress,) = of_kind("Ingress").values()
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"] == {"service": {"name": "api", "port": {"name": "http"}}}
    assert of_kind("Service")["api"]["spec"]["ports"][0]["name"] == "http"


def test_the_network_lets_through_what_is_needed_and_nothing_else() -> None:
    closed = POLICIES["deny-all"]["spec"]
    assert closed.keys() == {"podSelector", "policyTypes"}
    assert closed["policyTypes"] == ["Ingress", "Egress"]
    assert selected(closed["podSelector"]) == set(WORKLOADS)
    opened = {name: selected(policy["spec"]["podSelector"]) for name, policy in POLICIES.items() if name != "deny-all"}
    assert opened == {
        "names": set(WORKLOADS),
        "trackers": {"ingest"},
        "kafka": {name for name in WORKLOADS if "MINEGNK_KAFKA_SASL_PASSWORD_FILE" in environment(name)},
        "postgresql": {name for name in WORKLOADS if "DB_PASSWORD_FILE" in environment(name)},
        "readers": {"api"},
        "producers": {"ingest"},
        "prometheus": set(WORKLOADS),
    }
    incoming = {
        name: [port["port"] for rule in policy["spec"].get("ingress", []) for port in rule["ports"]]
        for name, policy in POLICIES.items()
        if "Ingress" in policy["spec"]["policyTypes"]
    }
    assert incoming == {"deny-all": [], "readers": ["http"], "producers": ["push"], "prometheus": ["metrics"]}


def allowed_ports(policy: str) -> set[int]:
    (rule,) = POLICIES[policy]["spec"]["egress"]
    return {port["port"] for port in rule["ports"]}


def test_the_network_lets_through_where_the_settings_point() -> None:
    sources = tomllib.loads((ROOT / "sources.toml").read_text("utf-8"))["sources"]
    urls = [url for source in sources for url in source["base_urls"]]
    of_trackers = {int(found[1]) if (found := re.search(r":(\d+)$", url)) else 443 for url in urls}
    assert allowed_ports("trackers") == of_trackers
    servers = CONFIG["settings"]["MINEGNK_KAFKA_BOOTSTRAP_SERVERS"].split(",")
    assert allowed_ports("kafka") == {int(server.rpartition(":")[2]) for server in servers}
    assert allowed_ports("postgresql") == {int(CONFIG["settings"]["DB_PORT"])}


def test_workers_are_scaled_by_the_lag_of_their_group_and_never_beyond_its_partitions() -> None:
    """KEDA's own schemas are in no package: what is asked of it is held to what it documents, and to the services."""
    partitions = {topic.name: topic.partitions for topic in TOPICS}
    topics = {}
    for name, scaled in of_kind("ScaledObject").items():
        spec = scaled["spec"]
        assert spec["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
        assert "replicas" not in WORKLOADS[name]["spec"], "each apply would undo what KEDA did"
        (trigger,) = spec["triggers"]
        metadata = trigger["metadata"]
        assert all(isinstance(value, str) for value in metadata.values())
        topics[name] = metadata["topic"]
        assert 1 < spec["minReplicaCount"] <= spec["maxReplicaCount"] <= partitions[metadata["topic"]]
        assert f'group="{metadata["consumerGroup"]}"' in (ROOT / "services" / name / "app.py").read_text("utf-8")
        assert metadata["bootstrapServersFromEnv"] in environment(name)
        mechanism = CONFIG["settings"]["MINEGNK_KAFKA_SASL_MECHANISM"]
        assert metadata["sasl"] == mechanism.lower().replace("-sha-", "_sha")
        assert metadata["tls"] == "enable"
        assert trigger["authenticationRef"]["name"] in of_kind("TriggerAuthentication")
    assert topics == {"cache": "node.readings.v1", "earnings": "node.earnings.v1"}
    (login,) = of_kind("TriggerAuthentication").values()
    assert {each["name"] for each in login["spec"]["secretTargetRef"]} == {"exporter-logins"}
    assert {each["key"] for each in login["spec"]["secretTargetRef"]} <= SECRET_KEYS
