import errno

import asyncpg
import pytest
from aiokafka.errors import CorruptRecordException, KafkaConnectionError, UnsupportedCodecError

from services.kernel.errors import ProjectionError
from services.kernel.transient import Fault, classify


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.DeadlockDetectedError("x"),
        asyncpg.SerializationError("x"),
        asyncpg.AdminShutdownError("x"),
        asyncpg.CrashShutdownError("x"),
        asyncpg.CannotConnectNowError("x"),
        asyncpg.DiskFullError("x"),
        asyncpg.TooManyConnectionsError("x"),
        asyncpg.LockNotAvailableError("x"),
        asyncpg.ConnectionDoesNotExistError("x"),
        asyncpg.ForeignKeyViolationError("x"),
        asyncpg.UniqueViolationError("x"),
        asyncpg.ReadOnlySQLTransactionError("x"),
        asyncpg.InvalidPasswordError("x"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"),
        KafkaConnectionError("x"),
        ConnectionResetError(),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
    ],
)
def test_what_passes_by_itself_is_retried(error: Exception) -> None:
    assert classify(error) is Fault.TRANSIENT
    assert classify(error).passes


@pytest.mark.parametrize("error", [TimeoutError(), asyncpg.QueryCanceledError("x")])
def test_a_time_limit_is_retried_with_less_at_once(error: Exception) -> None:
    assert classify(error) is Fault.SLOW
    assert classify(error).passes


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.NumericValueOutOfRangeError("x"),
        asyncpg.StringDataRightTruncationError("x"),
        asyncpg.CheckViolationError("x"),
        asyncpg.NotNullViolationError("x"),
        asyncpg.CharacterNotInRepertoireError("x"),
    ],
)
def test_what_the_database_refuses_is_a_records_fault(error: Exception) -> None:
    assert classify(error) is Fault.REFUSED
    assert not classify(error).passes


@pytest.mark.parametrize(
    "error",
    [
        KeyError("x"),
        CorruptRecordException("x"),
        UnsupportedCodecError("x"),
        AssertionError(),
        ProjectionError("x"),
        asyncpg.UndefinedTableError("x"),
        asyncpg.InsufficientPrivilegeError("x"),
        asyncpg.PostgresSyntaxError("x"),
    ],
)
def test_what_nobody_foresaw_is_a_defect(error: Exception) -> None:
    assert classify(error) is Fault.DEFECT
