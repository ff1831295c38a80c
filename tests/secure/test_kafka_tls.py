"""Kafka with TLS and SCRAM: each mistake is a sentence that says what to do (test_least_rights.py: all that works)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kernel.errors import UnavailableError
from services.kernel.settings import KafkaSettings
from services.kernel.topics import ensure_topics
from tests.integration.conftest import NewDatabase
from tests.integration.pipeline import Pipeline
from tests.integration.test_cli_doctor import wrong
from tests.integration.test_cli_errors import refused
from tests.secure.certificates import Authority
from tests.secure.servers import PASSWORD, USER, SecuredKafka

pytestmark = pytest.mark.integration


def variables(kafka: SecuredKafka, protocol: str, authority: Authority) -> dict[str, str]:
    """The settings that fit this port."""
    found = {"BOOTSTRAP_SERVERS": kafka.address(protocol), "SECURITY_PROTOCOL": protocol}
    if protocol.endswith("SSL"):
        found |= {"SSL_CA_FILE": str(authority.file)}
    if protocol.startswith("SASL"):
        found |= {"SASL_USERNAME": USER, "SASL_PASSWORD": PASSWORD}
    return {f"MINEGNK_KAFKA_{name}": value for name, value in found.items()}


def settings(environment: dict[str, str]) -> KafkaSettings:
    return KafkaSettings.model_validate(
        {name.removeprefix("MINEGNK_KAFKA_").lower(): value for name, value in environment.items()}
    )


@pytest.fixture(scope="module")
def pipeline(
    secured: SecuredKafka, authority: Authority, new_database: NewDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pipeline]:
    """A database, and Kafka over TLS with a login."""
    kafka = settings(variables(secured, "SASL_SSL", authority))
    pipeline = Pipeline(new_database(), kafka, tmp_path_factory.mktemp("workers"))
    yield pipeline
    pipeline.stop_all()


@pytest.fixture
def no_sources(tmp_path: Path) -> str:
    file = tmp_path / "none.toml"
    file.write_text("sources = []\n")
    return str(file)


def test_a_certificate_of_the_client_lets_in_as_well(
    pipeline: Pipeline, secured: SecuredKafka, authority: Authority
) -> None:
    own = authority.sign("a-client")
    topics = pipeline.start(
        "topics",
        **variables(secured, "SSL", authority),
        MINEGNK_KAFKA_SSL_CERT_FILE=str(own.certificate),
        MINEGNK_KAFKA_SSL_KEY_FILE=str(own.key),
    )
    assert topics.process.wait(30) == 0, str(topics)
    topics.ended = True


MISTAKES = {
    "wrong password": ("SASL_SSL", {"SASL_PASSWORD": "not-this-one"}, "check MINEGNK_KAFKA_SASL_USERNAME, MINEGNK_"),
    "unknown user": ("SASL_SSL", {"SASL_USERNAME": "nobody"}, "refused the user 'nobody': check "),
    "other mechanism": ("SASL_SSL", {"SASL_MECHANISM": "SCRAM-SHA-256"}, "set MINEGNK_KAFKA_SASL_MECHANISM to what"),
    "wrong authority": ("SASL_SSL", {"SSL_CA_FILE": "{stranger}"}, "set MINEGNK_KAFKA_SSL_CA_FILE to the authority"),
    "system's authorities": ("SASL_SSL", {"SSL_CA_FILE": ""}, "set MINEGNK_KAFKA_SSL_CA_FILE to the authority"),
    "wrong name": ("SASL_SSL", {"BOOTSTRAP_SERVERS": "localhost:{SASL_SSL}"}, "write the name that it is for into MI"),
    "plain to TLS": ("PLAINTEXT", {"BOOTSTRAP_SERVERS": "127.0.0.1:{SASL_SSL}"}, "speaks TLS: set MINEGNK_KAFKA_SECUR"),
    "TLS to plain": ("SSL", {"BOOTSTRAP_SERVERS": "127.0.0.1:{PLAINTEXT}"}, "speaks no TLS: name a port that does"),
    "no login": ("PLAINTEXT", {"BOOTSTRAP_SERVERS": "127.0.0.1:{SASL_PLAINTEXT}"}, "set MINEGNK_KAFKA_SECURITY_PROTO"),
    "needless login": ("SASL_PLAINTEXT", {"BOOTSTRAP_SERVERS": "127.0.0.1:{PLAINTEXT}"}, "takes no login: set MINEG"),
    "no certificate": ("SSL", {}, "closes the connection, as it does to clients without a login or certificate: set "),
}


def mistaken(secured: SecuredKafka, authority: Authority, stranger: Authority, mistake: str) -> dict[str, str]:
    protocol, changes, _ = MISTAKES[mistake]
    found = variables(secured, protocol, authority)
    for name, value in changes.items():
        found[f"MINEGNK_KAFKA_{name}"] = value.format(stranger=stranger.file, **secured.ports)
    return {name: value for name, value in found.items() if value}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_each_mistake_is_one_sentence_that_says_what_to_do(
    secured: SecuredKafka, authority: Authority, stranger: Authority, mistake: str
) -> None:
    with pytest.raises(UnavailableError) as caught:
        await ensure_topics(settings(mistaken(secured, authority, stranger, mistake)))
    assert MISTAKES[mistake][2] in str(caught.value)
    assert "not-this-one" not in str(caught.value)


@pytest.mark.parametrize("mistake", ["wrong password", "wrong authority", "plain to TLS"])
def test_doctor_says_the_same(
    pipeline: Pipeline, secured: SecuredKafka, authority: Authority, stranger: Authority, no_sources: str, mistake: str
) -> None:
    environment = mistaken(secured, authority, stranger, mistake)
    found = wrong(pipeline, "Kafka", MINEGNK_SOURCES_FILE=no_sources, **environment)
    assert MISTAKES[mistake][2].partition(": ")[2] in found["action"]
    assert "not-this-one" not in str(found)


@pytest.mark.parametrize("service", ["cache", "ingest"])
def test_a_service_does_not_start_with_a_password_that_is_refused(
    pipeline: Pipeline, secured: SecuredKafka, authority: Authority, stranger: Authority, no_sources: str, service: str
) -> None:
    environment = mistaken(secured, authority, stranger, "wrong password")
    sentence = refused(pipeline, service, MINEGNK_SOURCES_FILE=no_sources, **environment)
    assert "refused the user 'minegnk'" in sentence
