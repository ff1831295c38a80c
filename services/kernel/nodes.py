"""Get or create nodes by identifier: the first step of every service that writes rows about nodes."""

from collections.abc import Mapping
from uuid import UUID

from services.kernel.database import Connection, Database
from services.kernel.events import IdentifierType

_FIND = "SELECT identifier, id FROM nodes WHERE identifier = ANY($1::text[])"

# Ordered, so that two workers who meet the same new nodes wait for each other instead of deadlocking.
_CREATE = """
INSERT INTO nodes (identifier, identifier_type)
SELECT identifier, identifier_type FROM unnest($1::text[], $2::text[]) AS new (identifier, identifier_type)
ORDER BY identifier COLLATE "C"
ON CONFLICT (identifier) DO NOTHING
"""


_IDS = "ids of nodes"


async def known_node_ids(
    database: Database, connection: Connection, types: Mapping[str, IdentifierType]
) -> Mapping[str, UUID]:
    """The ids of at least these nodes, as `node_ids`; those that the database already gave are not asked for again.

    A node that was deleted since has no row to refer to: the foreign keys refuse what is written for it, the
    transaction is repeated, and by then nothing is remembered.
    """
    known: Mapping[str, UUID] = database.remembered(_IDS)
    unknown = {identifier: kind for identifier, kind in types.items() if identifier not in known}
    if not unknown:
        return known
    found = await _find(connection, list(unknown))
    database.remember(_IDS, found)  # rows that a committed transaction left
    if len(found) < len(unknown):
        found = await node_ids(connection, unknown)
    return {identifier: known.get(identifier) or found[identifier] for identifier in types}


async def node_ids(connection: Connection, types: Mapping[str, IdentifierType]) -> dict[str, UUID]:
    """The ids of the nodes with these identifiers (identifier → its type); those that are missing are created.

    Creating and finding are separate statements: one statement's snapshot can miss a node that another transaction has
    just committed.
    """
    found = await _find(connection, list(types))
    missing = [identifier for identifier in types if identifier not in found]
    if missing:
        await connection.execute(_CREATE, missing, [types[identifier] for identifier in missing])
        found |= await _find(connection, missing)
    return found


async def _find(connection: Connection, identifiers: list[str]) -> dict[str, UUID]:
    return {row["identifier"]: row["id"] for row in await connection.fetch(_FIND, identifiers)}
