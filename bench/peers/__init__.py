"""The peers: what one would take instead of our consumer to bring readings from Kafka into PostgreSQL.

Each is a small program, `python -m bench.peers.NAME GROUP TABLE`, written as its library's documentation shows for many
records: it reads the topic from its beginning, writes a row of each node, and commits offsets after PostgreSQL has.
The servers are named by the services' own variables, SIGTERM ends it. All are spared what the cache service does
besides (table.py).
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]
PYTHON: Final = REPOSITORY / ".venv-peers" / "bin" / "python"
"""Of the environment that has the peers' packages (requirements/peers.txt)."""


@dataclass(frozen=True)
class Peer:
    """A contender. `reduces`: of a batch only one row of each node is written. `lacks`: beside our consumer."""

    name: str
    reduces: bool
    newest_wins: bool
    lacks: str
    python: Path = PYTHON

    @property
    def group(self) -> str:
        """A consumer group of its own."""
        return f"bench.{self.name}"

    def command(self, group: str, table: str, *options: str) -> list[str]:
        """The process that drains the topic in `group` into `table`, to be started in the repository."""
        return [str(self.python), "-m", f"bench.peers.{self.name}", group, table, *options]


PEERS: Final[Mapping[str, Peer]] = {
    peer.name: peer
    for peer in (
        Peer(
            "aiokafka_rows",
            reduces=False,
            newest_wins=True,
            lacks="reduction, overlap, dead letters, retries",
        ),
        Peer(
            "aiokafka_newest",
            reduces=True,
            newest_wins=True,
            lacks="overlap, dead letters, retries",
        ),
        Peer(
            "aiokafka_newest_executemany",
            reduces=True,
            newest_wins=True,
            lacks="overlap, dead letters, retries",
        ),
        Peer(
            "faust_take",
            reduces=False,
            newest_wins=True,
            lacks="at least once when the handler fails, reduction, overlap, dead letters, retries",
        ),
        Peer(
            "faststream_batch",
            reduces=False,
            newest_wins=True,
            lacks="reduction, overlap, dead letters",
        ),
        Peer(
            "quix_sink",
            reduces=True,
            newest_wins=False,
            lacks="newest wins, overlap, dead letters, retries",
        ),
        Peer(
            "debezium_jdbc",
            reduces=True,
            newest_wins=False,
            lacks="newest wins, dead letters for what PostgreSQL refuses",
            python=Path(sys.executable),  # with the embedded servers' Java
        ),
    )
}
