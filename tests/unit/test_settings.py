"""Settings: secrets from files, and what does not fit together, as one sentence that says what to do."""

import os
from pathlib import Path

import pytest
from pydantic_settings import BaseSettings

from services.kernel import settings as every
from services.kernel.errors import ConfigurationError
from services.kernel.settings import ApiSettings, DatabaseSettings, KafkaSettings, load, secret_variables

CLASSES = [
    each
    for each in vars(every).values()
    if isinstance(each, type) and issubclass(each, BaseSettings) and each is not BaseSettings
]
SECRETS = [(each, variable) for each in CLASSES for variable in secret_variables(each)]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("DB_", "MINEGNK_")):
            monkeypatch.delenv(name)


def needed_beside(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if variable == "MINEGNK_KAFKA_SASL_PASSWORD":
        monkeypatch.setenv("MINEGNK_KAFKA_SECURITY_PROTOCOL", "SASL_SSL")
        monkeypatch.setenv("MINEGNK_KAFKA_SASL_USERNAME", "someone")


def test_the_secrets_are_those_that_this_file_knows() -> None:
    assert sorted(variable for _, variable in SECRETS) == [
        "DB_PASSWORD",
        "MINEGNK_API_JWT_SECRET",
        "MINEGNK_KAFKA_SASL_PASSWORD",
        "MINEGNK_KAFKA_SSL_KEY_PASSWORD",
    ]


@pytest.mark.parametrize(("settings", "variable"), SECRETS)
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_a_secret_may_come_from_a_file(
    settings: type[BaseSettings], variable: str, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = " päss: word = which is long enough "
    file = tmp_path / "secret"
    file.write_bytes(f"{secret}{ending}".encode())
    needed_beside(variable, monkeypatch)
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    monkeypatch.setenv(variable, "")  # as compose passes on what is not set
    field = variable.removeprefix(settings.model_config.get("env_prefix", "")).lower()
    assert getattr(load(settings), field).get_secret_value() == secret


@pytest.mark.parametrize(("settings", "variable"), SECRETS)
def test_a_secret_comes_from_one_place(
    settings: type[BaseSettings], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    file.write_text("one-secret-that-is-long-enough-for-it")
    needed_beside(variable, monkeypatch)
    monkeypatch.setenv(f"{variable}_FILE", str(file))
    monkeypatch.setenv(variable, "another-secret-that-is-long-enough")
    with pytest.raises(ConfigurationError) as caught:
        load(settings)
    assert str(caught.value) == f"{variable} and {variable}_FILE are both set: unset one of them."


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read (No such file or directory): make it readable"),
        (b"\n", "is empty: write the secret into it"),
        (b"\xff\xfe", "is not UTF-8: write the secret as text"),
    ],
)
def test_a_file_that_cannot_be_used(
    content: bytes | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("DB_PASSWORD_FILE", str(file))
    with pytest.raises(ConfigurationError, match=r"^DB_PASSWORD_FILE: ") as caught:
        load(DatabaseSettings)
    assert told in str(caught.value)


def test_a_folder_in_place_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD_FILE", str(tmp_path))
    with pytest.raises(ConfigurationError, match=r"DB_PASSWORD_FILE: .* cannot be read \(Is a directory\)"):
        load(DatabaseSettings)


def test_a_secret_that_does_not_fit_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("too-short")
    monkeypatch.setenv("MINEGNK_API_JWT_SECRET_FILE", str(file))
    with pytest.raises(ConfigurationError, match=r"^MINEGNK_API_JWT_SECRET: ") as caught:
        load(ApiSettings)
    assert "too-short" not in str(caught.value)


def test_what_is_set_to_nothing_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for settings in (DatabaseSettings, KafkaSettings):
        expected = load(settings)
        for name in settings.model_fields:
            monkeypatch.setenv(f"{settings.model_config['env_prefix']}{name}".upper(), "")
        assert load(settings) == expected


LOGIN = {"SASL_USERNAME": "u", "SASL_PASSWORD": "p"}


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SECURITY_PROTOCOL": "TLS"}, "MINEGNK_KAFKA_SECURITY_PROTOCOL: Input should be 'PLAINTEXT', 'SSL', "),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_PASSWORD": "p"}, "MINEGNK_KAFKA_SASL_USERNAME is not set: set it"),
        ({"SECURITY_PROTOCOL": "SASL_SSL", "SASL_USERNAME": "u"}, "MINEGNK_KAFKA_SASL_PASSWORD is not set: set it"),
        (LOGIN, "MINEGNK_KAFKA_SASL_USERNAME has no effect: set the protocol to SASL_SSL"),
        ({"SECURITY_PROTOCOL": "SSL", "SASL_PASSWORD": "p"}, "MINEGNK_KAFKA_SASL_PASSWORD has no effect"),
        ({"SSL_CA_FILE": __file__}, "MINEGNK_KAFKA_SSL_CA_FILE has no effect: set the protocol to SSL or SASL_SSL"),
        (
            {"SECURITY_PROTOCOL": "SASL_PLAINTEXT", "SASL_MECHANISM": "PLAIN", **LOGIN},
            "which would show the password to the network: set the protocol to SASL_SSL",
        ),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": "/nowhere.pem"},
            "MINEGNK_KAFKA_SSL_CA_FILE: /nowhere.pem cannot be read (No such file or directory)",
        ),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CA_FILE": __file__}, f"{__file__} holds no certificate: give a PEM file"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": __file__}, "MINEGNK_KAFKA_SSL_KEY_FILE is not: set both"),
        ({"SECURITY_PROTOCOL": "SSL", "SSL_KEY_FILE": __file__}, "MINEGNK_KAFKA_SSL_CERT_FILE is not: set both"),
        (
            {"SECURITY_PROTOCOL": "SSL", "SSL_CERT_FILE": __file__, "SSL_KEY_FILE": __file__},
            "are no certificate with its key",
        ),
    ],
)
def test_what_does_not_fit_together_about_kafka(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"MINEGNK_KAFKA_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load(KafkaSettings)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"SSLMODE": "full"}, "DB_SSLMODE: Input should be 'disable', 'allow', "),
        ({"SSLMODE": "verify-full"}, "DB_SSLMODE is verify-full and DB_SSLROOTCERT is not set: set it to the PEM file"),
        ({"SSLMODE": "verify-ca", "SSLROOTCERT": __file__}, "holds no certificate: give a PEM file"),
        (
            {"SSLROOTCERT": __file__},
            "DB_SSLROOTCERT has no effect while DB_SSLMODE is prefer: set DB_SSLMODE to verify",
        ),
        ({"SSLMODE": "disable", "SSLCERT": __file__}, "DB_SSLCERT and DB_SSLKEY have no effect while DB_SSLMODE is"),
        ({"SSLMODE": "require", "SSLCERT": __file__}, "DB_SSLCERT is set and DB_SSLKEY is not: set both or neither"),
    ],
)
def test_what_does_not_fit_together_about_postgresql(
    variables: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"DB_{name}", value)
    with pytest.raises(ConfigurationError) as caught:
        load(DatabaseSettings)
    assert told in str(caught.value)
