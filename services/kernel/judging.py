"""The verdict that an event's record would have, before there is one."""

import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

from services.kernel.errors import InvalidRecordError
from services.kernel.events import E
from services.kernel.wire import Headers, decoder_for


class _Draft(NamedTuple):
    """A value and headers, as decoding sees a record that the broker appends at this time (milliseconds)."""

    value: bytes
    headers: Headers
    timestamp: int


Judge = Callable[[bytes, Headers], E | InvalidRecordError]
"""Gives a record's value and headers their verdict: the event, or why there is none."""


def judge_of(event_class: type[E], *, clock_margin: timedelta = timedelta(0)) -> Judge[E]:
    """A function that gives a value with its headers the verdict that it would have if it were appended now.

    The broker's clock may be behind this one by `clock_margin`: what it might find to be in the future is refused.
    """
    decode = decoder_for(event_class)
    margin_ms = int(clock_margin / timedelta(milliseconds=1))

    def judge(value: bytes, headers: Headers) -> E | InvalidRecordError:
        try:
            return decode(_Draft(value, headers, int(time.time() * 1000) - margin_ms))
        except InvalidRecordError as error:
            return error

    return judge
