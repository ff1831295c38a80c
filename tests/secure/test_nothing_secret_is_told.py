"""Every secret is marked; services and commands run into every failure there is, and nothing they say has the mark."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import httpx
import jwt
import pytest
from aiohttp import web
from pydantic_settings import BaseSettings

from services.kernel import settings as every
from services.kernel.events import SOURCE_STATUS_TOPIC
from services.kernel.keys import API_KEYS, PUSH_KEYS
from services.kernel.settings import DatabaseSettings, secret_variables
from tests.captured import Reply, serving
from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import REPOSITORY, Pipeline, free_port, records_of, recreate_topics, until
from tests.schema.sessions import session
from tests.secure.certificates import Authority, encrypted_key
from tests.secure.servers import SecuredKafka
from tests.secure.test_kafka_tls import variables

pytestmark = pytest.mark.integration

MARK = "m4rked"


def secret(name: str) -> str:
    """A secret that tells where it leaked from."""
    return f"{MARK}-{name}-which-is-as-long-as-secrets-are"


SECRETS = {
    variable: secret(variable)
    for each in vars(every).values()
    if isinstance(each, type) and issubclass(each, BaseSettings)
    for variable in secret_variables(each)
}


def tracker(name: str, url: str) -> str:
    """A tracker whose operator wants a key in the URL, in the path and as a query."""
    return f"""
[[sources]]
name = "{name}"
kind = "json"
base_urls = ["{url}/{secret("path")}"]
poll_interval = 1
requests_per_minute = 6000
allow_private = true
timeout = 5
[sources.json]
path = "/nodes?key={secret("query")}"
nodes = "nodes"
[sources.json.node]
identifier = "id"
"""


def check(said: dict[str, str]) -> None:
    """Nobody told a secret."""
    for who, text in said.items():
        at = text.find(MARK)
        assert at < 0, f"{who} tells {text[max(0, at - 200) : at + 100]!r}"


@pytest.fixture
def wrong_everywhere(secured: SecuredKafka, authority: Authority, pipeline: Pipeline, tmp_path: Path) -> dict[str, str]:
    """Settings with every secret marked, and none right."""
    own = authority.sign("marked")
    sources = tmp_path / "sources.toml"
    sources.write_text(tracker("away", f"http://127.0.0.1:{free_port()}"))
    return pipeline.environment(
        **variables(secured, "SASL_SSL", authority)
        | {
            "MINEGNK_KAFKA_SSL_CERT_FILE": str(own.certificate),
            "MINEGNK_KAFKA_SSL_KEY_FILE": str(encrypted_key(own, SECRETS["MINEGNK_KAFKA_SSL_KEY_PASSWORD"])),
            "MINEGNK_SOURCES_FILE": str(sources),
            "MINEGNK_LOG_LEVEL": "DEBUG",
        }
        | SECRETS
    )


def test_commands_and_services_that_do_not_start(wrong_everywhere: dict[str, str], tmp_path: Path) -> None:
    folder = tmp_path / "a-file"
    folder.write_text(secret("file"))
    away = {"DB_PORT": str(free_port()), "MINEGNK_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{free_port()}"}
    runs: dict[str, tuple[list[str], dict[str, str]]] = {
        "cache, refused by PostgreSQL": (["cache"], {}),
        "ingest, refused by Kafka": (["ingest"], {}),
        "api, refused by PostgreSQL": (["api"], {}),
        "migrate": (["migrate"], {}),
        "doctor": (["doctor", "--json"], {}),
        "doctor, nobody there": (["doctor"], away),
        "a secret that is too short": (["api"], {"MINEGNK_API_JWT_SECRET": MARK}),
        "a secret in two places": (["cache"], {"DB_PASSWORD_FILE": str(folder)}),
        "a key's password that is wrong": (["cache"], {"MINEGNK_KAFKA_SSL_KEY_PASSWORD": secret("key")}),
        "a password in a URL": (["ingest"], {"MINEGNK_SOURCES_FILE": str(tmp_path / "bad.toml")}),
    }
    (tmp_path / "bad.toml").write_text(tracker("bad", f"http://user:{secret('url')}@tracker.example.com"))
    said: dict[str, str] = {}

    def run(who: str) -> None:
        arguments, changes = runs[who]
        found = subprocess.run(
            [sys.executable, "-m", "services", *arguments],
            env=wrong_everywhere | changes,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert found.returncode in (1, 2, 3), f"{who} must fail: {found}"
        said[who] = found.stdout + found.stderr

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, runs))
    for who, text in said.items():
        assert text, f"{who} says why"
        assert "Traceback" not in text, text
    check(said)


@pytest.fixture
def marked_login(new_database: NewDatabase) -> Iterator[DatabaseSettings]:
    """A database, and a user whose right password is marked."""
    database = new_database()
    user = f"marked_{free_port()}"
    with session(database) as connection:
        connection.execute(f"CREATE ROLE {user} LOGIN SUPERUSER PASSWORD '{SECRETS['DB_PASSWORD']}'".encode())
        yield database.model_copy(update={"username": user})
        connection.execute(f"DROP ROLE {user}".encode())


async def test_services_that_run_into_failures(
    pipeline: Pipeline, marked_login: DatabaseSettings, tmp_path: Path
) -> None:
    await recreate_topics(pipeline.kafka)
    traces = []

    async def refuse(request: web.Request) -> web.Response:
        traces.append(await request.read())
        return web.Response(status=401)

    async with serving({"/v1/traces": refuse}) as server:
        sources = tmp_path / "sources.toml"
        sources.write_text(tracker("odd", server.url) + tracker("away", f"http://127.0.0.1:{free_port()}"))
        ports = {"MINEGNK_API_PORT": free_port(), "MINEGNK_PUSH_PORT": free_port()}
        environment = {
            "DB_USERNAME": marked_login.username,
            "DB_DATABASE": marked_login.database,
            "MINEGNK_SOURCES_FILE": str(sources),
            "MINEGNK_LOG_LEVEL": "DEBUG",
            "MINEGNK_API_ACCESS": "keys",
            "OTEL_EXPORTER_OTLP_ENDPOINT": server.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{secret('collector')}",
            **{name: str(port) for name, port in ports.items()},
            **{name: value for name, value in SECRETS.items() if "KAFKA" not in name},
        }
        workers = {name: pipeline.start(name, **environment) for name in ("cache", "earnings", "ingest", "api")}

        async def told(**texts: str) -> None:
            """Wait until these services have logged these texts."""

            async def all_did() -> bool:
                for worker in workers.values():
                    assert worker.process.poll() is None, str(worker)
                return all(text in workers[name].log.read_text() for name, text in texts.items())

            await until(all_did, f"logged: {texts}", 60)

        assigned = "partitions_assigned"
        await told(cache=assigned, earnings=assigned, ingest="push_serving", api='"serving"')
        for reply, reason in ODD_ANSWERS.items():
            server.replies[f"/{secret('path')}/nodes"] = reply
            await told(ingest=reason)
        answers = [await asked(port) for port in ports.values()]
        # The password that was right no longer is, and the connections that are open are ended.
        await pipeline.execute(f"ALTER ROLE {marked_login.username} PASSWORD 'another'")
        await pipeline.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{marked_login.username}'"
        )
        await told(api="password authentication failed")
        answers += [await asked(port) for port in ports.values()]

        async def traced() -> bool:
            return bool(traces)

        await until(traced, "the collector has refused a trace")
        for worker in workers.values():
            await asyncio.to_thread(worker.stop)  # what answers its last requests is this loop
    statuses = await records_of(pipeline.kafka, SOURCE_STATUS_TOPIC)
    assert {record.key for record in statuses} == {b"odd", b"away"}
    check(
        {name: worker.log.read_text() for name, worker in workers.items()}
        | {
            "an answer": "\n".join(answers),
            "a status": "\n".join(str(record.value) for record in statuses),
            "a trace": "\n".join(map(str, traces)),
        }
    )


def _elsewhere(_: web.Request) -> web.Response:
    return web.Response(status=302, headers={"Location": f"http://{secret('host')}.example.com/?{secret('location')}"})


ODD_ANSWERS: dict[Reply, str] = {
    b"<html>": "is not JSON",
    b'{"nodes": []}': "empty list",
    b'{"nodes": [{"id": ""}]}': "no usable node",
    _elsewhere: "redirects to another host",
}


async def asked(port: int) -> str:
    """What is answered to keys that are not known, in the right place and in a wrong one."""
    token = jwt.encode({"sub": "x", "exp": 1}, SECRETS["MINEGNK_API_JWT_SECRET"])
    known_forms = [form.text(uuid4(), f"{MARK:x<43}") for form in (API_KEYS, PUSH_KEYS)]
    answers = []
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for key in (secret("key"), *known_forms, token, f"{token}{MARK}"):
            for path in ("/api/v1/sources", "/v1/readings"):
                answer = await client.post(path, params={"key": key}, headers={"Authorization": f"Bearer {key}"})
                answers.append(f"{answer.headers} {answer.text}")
    return "\n".join(answers)
