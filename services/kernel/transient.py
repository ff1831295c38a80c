"""What passes by itself and is retried, what is a record's own fault, and what is a defect: one table."""

import asyncio
from enum import Enum

import asyncpg
from aiokafka.errors import CorruptRecordException, KafkaError, UnsupportedCodecError


class Fault(Enum):
    """What to do about an exception that came out of handling a batch."""

    TRANSIENT = "transient"  # retry the batch, however long it takes
    REFUSED = "refused"  # the database refuses some record: find it, dead-letter it
    DEFECT = "defect"  # nobody knows: stop, with an alarm


_TRANSIENT_CLASSES = ("08", "40", "53", "55", "57", "58")
"""SQLSTATE classes: connection, transaction rollback (deadlock, serialization), resources (disk full, too many
connections), lock or object not available, operator intervention (shutdown, cancelled), system errors (I/O)."""

_TRANSIENT_STATES = (
    "23503",  # foreign key: the node was deleted meanwhile, the next try makes it again
    "23505",  # unique: another worker made the same node
    "25006",  # read only: a standby, until it is promoted
    "25P03",  # idle in transaction time-out
    "28000",  # authorisation and password: a rotation under way, or an operator's mistake; losing nothing means waiting
    "28P01",
    "3D000",  # database missing: being restored
)

_REFUSED_CLASSES = ("22", "23")  # data exceptions (also those of asyncpg's own encoding), integrity violations


def classify(error: BaseException) -> Fault:
    """The verdict on an exception raised while a batch was handled."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        if state in _TRANSIENT_STATES or state[:2] in _TRANSIENT_CLASSES:
            return Fault.TRANSIENT
        return Fault.REFUSED if state[:2] in _REFUSED_CLASSES else Fault.DEFECT
    if isinstance(error, (CorruptRecordException, UnsupportedCodecError)):
        # The poll had moved other partitions' positions before it raised: only a restart reads them again.
        return Fault.DEFECT
    if isinstance(error, KafkaError):
        return Fault.TRANSIENT
    if isinstance(error, (OSError, asyncio.TimeoutError, TimeoutError, asyncpg.InterfaceError)):
        return Fault.TRANSIENT
    return Fault.DEFECT
