"""Get or create nodes by identifier: the first step of every service that writes rows about nodes."""

from collections.abc import Mapping
from uuid import UUID

from services.kernel.database import Connection
from services.kernel.events import IdentifierType

_FIND = "SELECT identifier, id FROM nodes WHERE identifier = ANY($1::text[])"

# Ordered, so that two workers who meet the same new nodes wait for each other instead of deadlocking.
_CREATE = """
INSERT INTO nodes (identifier, identifier_type)
SELECT identifier, identifier_type FROM unnest($1::text[], $2::text[]) AS new (identifier, identifier_type)
ORDER BY identifier COLLATE "C"
ON CONFLICT (identifier) DO NOTHING
"""


async def node_ids(connection: Connection, types: Mapping[str, IdentifierType]) -> dict[str, UUID]:
    """The ids of the nodes with these identifiers (identifier → its type); those that are missing are created.

    Creating and finding are separate statements: one statement's snapshot can miss a node that another transaction has
    just committed.
    """
    found = {row["identifier"]: row["id"] for row in await connection.fetch(_FIND, list(types))}
    missing = [identifier for identifier in types if identifier not in found]
    if missing:
        await connection.execute(_CREATE, missing, [types[identifier] for identifier in missing])
        found |= {row["identifier"]: row["id"] for row in await connection.fetch(_FIND, missing)}
    return found
