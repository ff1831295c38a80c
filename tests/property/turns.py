"""Transactions that advance one statement at a time, in an order that a test gives: any interleaving, on purpose.

A schedule gives the same interleaving every time, so that a failure can be made smaller and repeated: nothing else
happens until the statement that was let go has ended or waits for another transaction's lock.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, cast

from services.kernel.database import Connection, Database, OwnConnection
from services.kernel.transient import classify

_LOOK_SECONDS = 0.003
"""A statement that takes longer may be waiting for a lock: then PostgreSQL is asked."""

_WAITING = "SELECT pid FROM unnest($1::integer[]) AS pid WHERE pg_blocking_pids(pid) <> '{}'"
_END_SESSION = "SELECT pg_terminate_backend($1)"
_SESSION_LIVES = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)"


class SteppedDatabase(Database):
    """A database whose connections ask before each statement, and before they commit."""

    ask: Callable[[Connection], Awaitable[None]]

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection that waits for its turn at every statement."""
        async with super().connection() as connection:
            yield cast("Connection", _Stepped(connection, self.ask))


class _Stepped:
    def __init__(self, connection: Connection, ask: Callable[[Connection], Awaitable[None]]) -> None:
        self._connection = connection
        self._ask = ask

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._connection, name)
        if name not in ("execute", "executemany", "fetch", "fetchrow", "fetchval"):
            return attribute

        async def asking(*arguments: Any, **options: Any) -> Any:
            await self._ask(self._connection)
            return await attribute(*arguments, **options)

        return asking

    def transaction(self) -> "_SteppedTransaction":
        return _SteppedTransaction(self._connection, self._ask)


class _SteppedTransaction:
    """asyncpg's, as far as Database uses it."""

    def __init__(self, connection: Connection, ask: Callable[[Connection], Awaitable[None]]) -> None:
        self._connection = connection
        self._ask = ask
        self._transaction = connection.transaction()
        self.start = self._transaction.start
        self.rollback = self._transaction.rollback

    async def commit(self) -> None:
        await self._ask(self._connection)
        await self._transaction.commit()


@dataclass(eq=False)
class Run:
    """What one worker does: `work` on its database. Its session is ended before statement number `cut` (from 0)."""

    database: SteppedDatabase
    work: Callable[[], Awaitable[object]]
    cut: int | None = None
    waited: bool = field(default=False, init=False)  # for a lock
    was_cut: bool = field(default=False, init=False)
    failure: Exception | None = field(default=None, init=False)  # one that passes: the work may be repeated
    resting: bool = field(default=False, init=False)
    pid: int = field(default=0, init=False)
    _asked: int = field(default=0, init=False)
    _task: "asyncio.Task[None] | None" = field(default=None, init=False)
    _go: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    async def alone(self, watch: OwnConnection) -> None:
        """Do it while nobody else does anything."""

        async def ask(connection: Connection) -> None:
            self.pid = connection.get_server_pid()
            await self._let_go(watch)

        self.database.ask = ask
        await self._work()

    def start(self, changed: asyncio.Event) -> None:
        """Begin; `changed` is set whenever this run comes to rest or ends."""

        async def ask(connection: Connection) -> None:
            self.pid = connection.get_server_pid()
            self.resting = True
            changed.set()
            await self._go.wait()
            self._go.clear()

        async def until_done() -> None:
            try:
                await self._work()
            finally:
                changed.set()

        self.database.ask = ask
        self._task = asyncio.create_task(until_done())

    async def _work(self) -> None:
        try:
            await self.work()
        except Exception as error:
            if not classify(error).passes:
                raise
            self.failure = error

    @property
    def done(self) -> bool:
        """Whether the work has ended, somehow."""
        return self._task is not None and self._task.done()

    @property
    def moving(self) -> bool:
        """Whether a statement is under way."""
        return not self.resting and not self.done

    async def step(self, watch: OwnConnection) -> None:
        """Let the next statement go."""
        await self._let_go(watch)
        self.resting = False
        self._go.set()

    async def _let_go(self, watch: OwnConnection) -> None:
        if self._asked == self.cut:
            self.was_cut = True
            await watch.execute(_END_SESSION, self.pid)
            while await watch.fetchval(_SESSION_LIVES, self.pid):
                pass
        self._asked += 1

    def result(self) -> None:
        """Raise what the work raised."""
        assert self._task is not None
        self._task.result()


async def take_turns(runs: Sequence[Run], turns: Iterable[int], watch: OwnConnection) -> None:
    """Do all runs, one statement at a time; each turn is the next statement of one of those that can go on.

    The turns repeat: [0] is one run after the other, [0, 1] in alternation. `watch` is a connection of its own. Raises
    what a run raised, when all of them have ended.
    """
    if len(runs) == 1:
        await runs[0].alone(watch)
        return
    changed = asyncio.Event()
    for run in runs:
        run.start(changed)
    for turn in cycle(turns):
        await _quiet(runs, changed, watch)
        ready = [run for run in runs if run.resting]
        if ready:
            await ready[turn % len(ready)].step(watch)
        elif all(run.done for run in runs):
            break
        else:  # each waits for another one: PostgreSQL ends the deadlock
            changed.clear()
            await changed.wait()
    for run in runs:
        run.result()


async def _quiet(runs: Sequence[Run], changed: asyncio.Event, watch: OwnConnection) -> None:
    """Return when every run rests, has ended, or waits for a lock."""
    while moving := [run for run in runs if run.moving]:
        changed.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), _LOOK_SECONDS)
            continue
        waiting = {row["pid"] for row in await watch.fetch(_WAITING, [run.pid for run in moving])}
        for run in moving:
            run.waited |= run.pid in waiting
        if all(run.pid in waiting for run in moving if run.moving):
            return
