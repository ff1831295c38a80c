"""TLS towards Kafka and PostgreSQL: what a client trusts and who it is, from PEM files."""

import re
import ssl
from pathlib import Path
from typing import NamedTuple

from services.kernel.errors import ConfigurationError


class Variable(NamedTuple):
    """A setting that names a file: the variable, and the path that it holds."""

    name: str
    path: Path | None


def client_context(
    authorities: Variable, certificate: Variable, key: Variable, key_password: str | None = None
) -> ssl.SSLContext:
    """A context that checks the server's certificate and name; without a file of authorities, against the system's.

    Raises ConfigurationError, naming the variable, for a file that cannot be used.
    """
    for variable in (authorities, certificate, key):
        _check_readable(variable)
    if (certificate.path is None) != (key.path is None):
        given, missing = (certificate, key) if key.path is None else (key, certificate)
        raise ConfigurationError(f"{given.name} is set and {missing.name} is not: set both or neither.")
    try:
        context = ssl.create_default_context(cafile=authorities.path)
    except (OSError, ValueError):
        raise ConfigurationError(
            f"{authorities.name}: {authorities.path} holds no certificate: give a PEM file of authorities."
        ) from None
    if certificate.path is not None:
        try:
            # A password is always given: without one OpenSSL would ask the terminal.
            context.load_cert_chain(certificate.path, key.path, password=key_password or "")
        except (OSError, ValueError):
            raise ConfigurationError(
                f"{certificate.name} and {key.name}: {certificate.path} and {key.path} are no certificate with its key "
                "in PEM, or the key has another password: give those that belong together."
            ) from None
    return context


def _check_readable(variable: Variable) -> None:
    if variable.path is None:
        return
    try:
        variable.path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{variable.name}: {variable.path} cannot be read ({error.strerror}): make it readable, or name another."
        ) from None


_OF_POSTGRESQL = (
    (
        r"Hostname mismatch|IP address mismatch|does not match host name",
        "has a certificate for another name: write the name that it is for into DB_HOST",
    ),
    (
        r"certificate verify failed",
        "has a certificate that is not trusted: set DB_SSLROOTCERT to the authority that signed it",
    ),
    (
        r"rejected SSL upgrade|does not support SSL",
        "speaks no TLS: switch it on there (ssl = on), or set DB_SSLMODE to prefer",
    ),
    (r"pg_hba\.conf.* no encryption", "takes encrypted connections only: set DB_SSLMODE to verify-full"),
    (r"requires a valid client certificate", "wants a certificate of the client: set DB_SSLCERT and DB_SSLKEY"),
    (r"private key file .* has group or world access", "is not asked: DB_SSLKEY must be readable by its owner only"),
)


def postgresql_refusal(text: str) -> str | None:
    """What the text of an error, asyncpg's or libpq's, says about TLS, as the end of a sentence; None: nothing."""
    return next((sentence for pattern, sentence in _OF_POSTGRESQL if re.search(pattern, text)), None)
