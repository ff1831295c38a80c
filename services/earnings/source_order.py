"""The order of sources by which history is projected, and how it follows the sources' own settings.

`tracker_sources` has the order that the sources file gives; `earnings_source_order` the one that all history was
projected with. Nothing is ever projected by an order that is not followed yet.
"""

from typing import Final

from services.earnings.projection import LOCK_ORDER, project_nodes
from services.kernel.database import Database

NODES_AT_ONCE: Final = 200

CHANGED_ORDER: Final = """
SELECT name, tracker_sources.earnings_order
FROM tracker_sources LEFT JOIN earnings_source_order ON source = name
WHERE tracker_sources.earnings_order IS DISTINCT FROM earnings_source_order.earnings_order
"""
NODES_OF_SEVERAL_SOURCES: Final = """
SELECT node_id FROM earnings_ledger AS ledger
WHERE source = ANY($1::text[])
    AND EXISTS (
        SELECT FROM earnings_ledger AS other WHERE other.node_id = ledger.node_id AND other.source <> ledger.source
    )
GROUP BY node_id ORDER BY node_id
"""
NOTE_ORDER: Final = """
INSERT INTO earnings_source_order AS held (source, earnings_order)
SELECT * FROM unnest($1::text[], $2::integer[]) AS new (source, earnings_order) ORDER BY source COLLATE "C"
ON CONFLICT (source) DO UPDATE SET earnings_order = EXCLUDED.earnings_order
"""


async def follow_order(database: Database) -> int:
    """Where the order of sources has changed, project what it concerns again; how many nodes that were.

    In one transaction, which nobody else projects during: a change is rare, and only concerns nodes that several
    sources report.
    """
    async with database.connection() as connection:
        if not await connection.fetch(CHANGED_ORDER):
            return 0
    async with database.transaction() as connection:
        await connection.execute(LOCK_ORDER)
        changed = {row["name"]: row["earnings_order"] for row in await connection.fetch(CHANGED_ORDER)}
        await connection.execute(NOTE_ORDER, list(changed), list(changed.values()))
        nodes = [row["node_id"] for row in await connection.fetch(NODES_OF_SEVERAL_SOURCES, list(changed))]
        for begin in range(0, len(nodes), NODES_AT_ONCE):
            await project_nodes(connection, nodes[begin : begin + NODES_AT_ONCE])
    return len(nodes)
