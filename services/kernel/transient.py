"""What passes by itself and is retried, what is a record's own fault, and what is a defect: one table."""

from enum import Enum

import asyncpg
from aiokafka.errors import CorruptRecordException, KafkaError, UnsupportedCodecError


class Fault(Enum):
    """What to do about an exception that came out of handling a batch."""

    TRANSIENT = "transient"  # retry the batch, however long it takes
    SLOW = "slow"  # a time limit: retry as well, with less at once
    REFUSED = "refused"  # the database refuses some record: find it, dead-letter it
    DEFECT = "defect"  # nobody knows: stop, with an alarm

    @property
    def passes(self) -> bool:
        """Whether the same may succeed later, so that giving up would lose something."""
        return self in (Fault.TRANSIENT, Fault.SLOW)


_BY_SQLSTATE = {
    "08": Fault.TRANSIENT,  # connection
    "22": Fault.REFUSED,  # data exceptions, those of asyncpg's own encoding too
    "23": Fault.REFUSED,  # integrity violations, but:
    "23503": Fault.TRANSIENT,  # foreign key: the node was deleted meanwhile, the next try makes it again
    "23505": Fault.TRANSIENT,  # unique: another worker made the same node
    "25006": Fault.TRANSIENT,  # read only: a standby, until it is promoted
    "25P03": Fault.TRANSIENT,  # idle in transaction time-out
    "28000": Fault.TRANSIENT,  # authorisation and password: a rotation under way, or an operator's mistake;
    "28P01": Fault.TRANSIENT,  # losing nothing means waiting
    "3D000": Fault.TRANSIENT,  # database missing: being restored
    "40": Fault.TRANSIENT,  # transaction rollback: deadlock, serialization
    "53": Fault.TRANSIENT,  # resources: disk full, memory, too many connections
    "55": Fault.TRANSIENT,  # lock or object not available
    "57": Fault.TRANSIENT,  # operator intervention: shutdown, crash, starting up, but:
    "57014": Fault.SLOW,  # query cancelled: statement_timeout, mostly
    "58": Fault.TRANSIENT,  # system errors: I/O
}
"""Verdicts by SQLSTATE; a class (two characters) holds for its states that are not listed."""

_BY_TYPE: tuple[tuple[type[BaseException], Fault], ...] = (
    # The poll had moved other partitions' positions before it raised: only a restart reads them again.
    (CorruptRecordException, Fault.DEFECT),
    (UnsupportedCodecError, Fault.DEFECT),
    (KafkaError, Fault.TRANSIENT),
    (TimeoutError, Fault.SLOW),
    (OSError, Fault.TRANSIENT),
    (asyncpg.InterfaceError, Fault.TRANSIENT),
    # A connection of the pool that PostgreSQL ended with an error while no query ran; the pool throws it away.
    (asyncpg.InternalClientError, Fault.TRANSIENT),
)
"""Verdicts by type; the first that fits holds."""


def classify(error: BaseException) -> Fault:
    """The verdict on an exception raised while a batch was handled."""
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or ""
        return _BY_SQLSTATE.get(state) or _BY_SQLSTATE.get(state[:2], Fault.DEFECT)
    return next((fault for kind, fault in _BY_TYPE if isinstance(error, kind)), Fault.DEFECT)
