"""How every client of Kafka connects, and why one could not."""

import asyncio
import ssl
from typing import Any, Final

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from services.kernel import receiving
from services.kernel.errors import UnavailableError
from services.kernel.settings import KafkaSettings

_PROBE_SECONDS: Final = 3.0
_CLOSE_SECONDS: Final = 0.5
_CLOSED_TRANSPORT: Final = "the handler is closed"
_NOT_ALLOWED: Final = (ClusterAuthorizationFailedError, GroupAuthorizationFailedError, TopicAuthorizationFailedError)


_send = AIOKafkaConnection.send


def _send_or_break(connection: AIOKafkaConnection, request: Any, expect_response: bool = True) -> Any:
    """The library's `send`, which knows what asyncio says of a broken connection (OSError), but not what uvloop does.

    Otherwise a heartbeat that meets a connection in the moment in which it breaks ends the service, or worse, only the
    group's coordination. Raises KafkaConnectionError, as for any other broken connection.
    """
    try:
        return _send(connection, request, expect_response)
    except RuntimeError as error:
        if _CLOSED_TRANSPORT not in str(error):
            raise
        connection.close(reason=CloseReason.CONNECTION_BROKEN)
        raise KafkaConnectionError(f"the connection to {connection.host}:{connection.port} broke") from error


AIOKafkaConnection.send = _send_or_break  # of every client: none takes a class of connections

receiving.join_once()


def client_arguments(settings: KafkaSettings) -> dict[str, Any]:
    """Where Kafka is and how it is spoken to, as aiokafka's clients take it."""
    return {"bootstrap_servers": settings.bootstrap_servers, **_security(settings)}


def _security(settings: KafkaSettings) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "security_protocol": settings.security_protocol,
        "ssl_context": settings.ssl_context,
    }
    if settings.sasl_password is not None:
        arguments |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password.get_secret_value(),
        }
    return arguments


async def unavailable(settings: KafkaSettings, error: Exception) -> UnavailableError:
    """The sentence for a Kafka that cannot be used; connects once more to see why, which its clients do not tell."""
    if isinstance(error, _NOT_ALLOWED):
        return UnavailableError(
            f"Kafka at {settings.bootstrap_servers} does not let {_user(settings)} do this ({type(error).__name__}): "
            "give it the right, with kafka-acls."
        )
    for address in settings.bootstrap_servers.split(","):
        host, _, port = address.strip().rpartition(":")
        if host and port.isdecimal() and (reason := await _refusal(settings, host.strip("[]"), int(port))):
            return UnavailableError(f"Kafka at {address.strip()} {reason}.")
    return UnavailableError(
        f"Kafka at {settings.bootstrap_servers} cannot be reached ({type(error).__name__}): "
        "start it, or set MINEGNK_KAFKA_BOOTSTRAP_SERVERS."
    )


def _user(settings: KafkaSettings) -> str:
    return f"the user {settings.sasl_username!r}" if settings.logs_in else "clients without a login"


async def _refusal(settings: KafkaSettings, host: str, port: int) -> str | None:
    """Why this broker, which is there, does not serve us, and what to do; None where that is not the case."""
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            await _ask(host, port, _security(settings))
    except (KafkaError, OSError, TimeoutError) as error:
        return _told(settings, error) or await _other_protocol(settings, host, port)
    return None


def _told(settings: KafkaSettings, error: Exception) -> str | None:
    """What the error of a connection says by itself."""
    match error:
        case ssl.SSLCertVerificationError(verify_message=reason) if "match" in reason or "not valid for" in reason:
            return (
                f"has a certificate for another name ({reason}): write the name that it is for into "
                "MINEGNK_KAFKA_BOOTSTRAP_SERVERS"
            )
        case ssl.SSLCertVerificationError(verify_message=reason):
            return (
                f"has a certificate that is not trusted ({reason}): set MINEGNK_KAFKA_SSL_CA_FILE to the authority "
                "that signed it"
            )
        case SaslAuthenticationFailed() | AuthenticationFailedError():
            return (
                f"refused {_user(settings)}: check MINEGNK_KAFKA_SASL_USERNAME, MINEGNK_KAFKA_SASL_PASSWORD and "
                "MINEGNK_KAFKA_SASL_MECHANISM"
            )
        case UnsupportedSaslMechanismError():
            return f"does not take {settings.sasl_mechanism}: set MINEGNK_KAFKA_SASL_MECHANISM to what it takes"
        case IllegalSaslStateError():
            protocol = "SSL" if settings.encrypted else "PLAINTEXT"
            return f"takes no login: set MINEGNK_KAFKA_SECURITY_PROTOCOL to {protocol}"
    return None


async def _other_protocol(settings: KafkaSettings, host: str, port: int) -> str | None:
    """What this port speaks, where it is not what we speak."""
    if not await _connects(host, port):
        return None
    encrypted = await _connects(host, port, _believing_anybody())
    if encrypted and not settings.encrypted:
        return "speaks TLS: set MINEGNK_KAFKA_SECURITY_PROTOCOL to SASL_SSL or SSL"
    if settings.encrypted and not encrypted:
        return (
            "speaks no TLS: name a port that does in MINEGNK_KAFKA_BOOTSTRAP_SERVERS, or set "
            "MINEGNK_KAFKA_SECURITY_PROTOCOL to SASL_PLAINTEXT or PLAINTEXT"
        )
    if not settings.logs_in:
        protocol = "SASL_SSL" if encrypted else "SASL_PLAINTEXT"
        return (
            "closes the connection, as it does to clients without a login or certificate: set "
            f"MINEGNK_KAFKA_SECURITY_PROTOCOL to {protocol}, or MINEGNK_KAFKA_SSL_CERT_FILE"
        )
    return None


def _believing_anybody() -> ssl.SSLContext:
    """For finding out whether TLS is spoken; nothing is sent over such a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _connects(host: str, port: int, context: ssl.SSLContext | None = None) -> bool:
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.transport.abort()
    return True


async def _ask(host: str, port: int, security: dict[str, Any]) -> None:
    """Connect, log in, and ask which topics there are."""
    connection = AIOKafkaConnection(host, port, request_timeout_ms=int(_PROBE_SECONDS * 1000), **security)
    try:
        await connection.connect()
        await connection.send(MetadataRequest([]))
    finally:
        # TLS ends with a farewell of both sides: a connection that is dropped in the middle of it is left open.
        await asyncio.wait({connection.close()}, timeout=_CLOSE_SECONDS)
