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
        asyncpg.QueryCanceledError("x"),
        asyncpg.LockNotAvailableError("x"),
        asyncpg.ConnectionDoesNotExistError("x"),
        asyncpg.ForeignKeyViolationError("x"),
        asyncpg.UniqueViolationError("x"),
        asyncpg.ReadOnlySQLTransactionError("x"),
        asyncpg.InvalidPasswordError("x"),
        asyncpg.InterfaceError("connection is closed"),
        KafkaConnectionError("x"),
        ConnectionResetError(),
        TimeoutError(),
    ],
)
def test_what_passes_by_itself_is_retried(error: Exception) -> None:
    assert classify(error) is Fault.TRANSIENT


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
