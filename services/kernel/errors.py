"""The errors of this project, as one small tree.

MineGNKError
├── UserError              a person can mend it: one sentence that says what to do, no traceback
│   ├── ConfigurationError     a setting, a file or an argument is wrong
│   └── UnavailableError       something that is needed cannot be reached
├── InvalidRecordError     a record that can never be applied: it goes to the dead letters with its reason
└── SourceError            a tracker's answer that cannot be used: the next base URL is tried
"""

from enum import StrEnum


class MineGNKError(Exception):
    """Base of every error this project raises on purpose."""


class UserError(MineGNKError):
    """Something a person can mend. The message is one sentence that says what to do; commands exit with `exit_code`."""

    exit_code = 1


class ConfigurationError(UserError):
    """A setting, a file or an argument is wrong."""

    exit_code = 2


class UnavailableError(UserError):
    """Kafka, PostgreSQL or another process that is needed cannot be reached."""

    exit_code = 3


class Reason(StrEnum):
    """Why a record was rejected: the same word in metrics, dead-letter headers, HTTP problems and the documentation."""

    TOMBSTONE = "tombstone"
    UNDECODABLE = "undecodable"
    UNSUPPORTED_VERSION = "unsupported_version"
    INVALID_FIELD = "invalid_field"
    OUT_OF_RANGE = "out_of_range"
    IN_THE_FUTURE = "in_the_future"
    IDENTIFIER_TYPE_MISMATCH = "identifier_type_mismatch"
    REFUSED_BY_DATABASE = "refused_by_database"


class InvalidRecordError(MineGNKError):
    """A record that no retry can make valid.

    It is deliberately no ValueError: msgspec would wrap one raised while it decodes, and lose the reason.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class ProjectionError(MineGNKError):
    """Deriving rows from stored facts failed. Never a record's fault: it stops the service."""


class SourceError(MineGNKError):
    """A tracker's answer that cannot be used (time-out, bad status, unusable payload)."""
