"""Users, their nodes, and API keys. What writes runs under the admin role."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from asyncpg import Record

from services.kernel.database import Connection

PROFILE: Final = "SELECT id, name, telegram, discord, currency_preference FROM users WHERE id = $1"
# $2: the names of the columns to be changed; the others stay.
CHANGE_PROFILE: Final = """
UPDATE users SET
    telegram = CASE WHEN 'telegram' = ANY($2::text[]) THEN $3 ELSE telegram END,
    discord = CASE WHEN 'discord' = ANY($2::text[]) THEN $4 ELSE discord END,
    currency_preference = CASE WHEN 'currency_preference' = ANY($2::text[]) THEN $5 ELSE currency_preference END
WHERE id = $1
RETURNING id, name, telegram, discord, currency_preference
"""
ASSIGNMENTS: Final = """
SELECT identifier, display_name, assigned_at, assigned_by
FROM user_nodes JOIN nodes ON nodes.id = node_id WHERE user_id = $1 ORDER BY identifier COLLATE "C"
"""
# Repeatable: who assigned it first, and when, stays.
ASSIGN: Final = """
INSERT INTO user_nodes (user_id, node_id, assigned_by) VALUES ($1, $2, $3) ON CONFLICT (user_id, node_id) DO NOTHING
"""
ASSIGNMENT: Final = """
SELECT identifier, display_name, assigned_at, assigned_by
FROM user_nodes JOIN nodes ON nodes.id = node_id WHERE user_id = $1 AND node_id = $2
"""
UNASSIGN: Final = "DELETE FROM user_nodes WHERE user_id = $1 AND node_id = $2 RETURNING node_id"

KEY: Final = """
SELECT id, secret_sha256, scopes, user_id FROM api_keys
WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""
KEYS: Final = """
SELECT id, name, scopes, user_id, created_at, expires_at, revoked_at, now() AS as_of FROM api_keys
ORDER BY created_at, id
"""
ADD_KEY: Final = """
INSERT INTO api_keys (name, secret_sha256, scopes, user_id, expires_at) VALUES ($1, $2, $3, $4, $5)
RETURNING id, name, scopes, user_id, created_at, expires_at, revoked_at
"""
REVOKE_KEY: Final = """
UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) WHERE id = $1
RETURNING id, name, scopes, user_id, created_at, expires_at, revoked_at
"""


async def profile(connection: Connection, user_id: UUID) -> Record | None:
    """The user's profile."""
    return await connection.fetchrow(PROFILE, user_id)


async def change_profile(
    connection: Connection,
    user_id: UUID,
    fields: Sequence[str],
    telegram: str | None,
    discord: str | None,
    currency_preference: str | None,
) -> Record | None:
    """Set the named fields; returns the profile after it, None without such a user."""
    return await connection.fetchrow(CHANGE_PROFILE, user_id, fields, telegram, discord, currency_preference)


async def assignments(connection: Connection, user_id: UUID) -> list[Record]:
    """The user's nodes."""
    return await connection.fetch(ASSIGNMENTS, user_id)


async def assign(connection: Connection, user_id: UUID, node_id: UUID, assigned_by: UUID | None) -> Record:
    """Give the node to the user; returns the assignment. Raises ForeignKeyViolationError for an unknown user."""
    await connection.execute(ASSIGN, user_id, node_id, assigned_by)
    row = await connection.fetchrow(ASSIGNMENT, user_id, node_id)
    assert row is not None, "it is there now"
    return row


async def unassign(connection: Connection, user_id: UUID, node_id: UUID) -> bool:
    """Take the node from the user; False where it was not theirs."""
    return await connection.fetchval(UNASSIGN, user_id, node_id) is not None


async def key(connection: Connection, key_id: UUID) -> Record | None:
    """The key, if it is valid now."""
    return await connection.fetchrow(KEY, key_id)


async def keys(connection: Connection) -> list[Record]:
    """All keys, the oldest first."""
    return await connection.fetch(KEYS)


async def add_key(
    connection: Connection,
    name: str,
    secret_sha256: bytes,
    scopes: Sequence[str],
    user_id: UUID | None,
    expires_at: datetime | None,
) -> Record:
    """A new key. Raises ForeignKeyViolationError for an unknown user."""
    row = await connection.fetchrow(ADD_KEY, name, secret_sha256, scopes, user_id, expires_at)
    assert row is not None, "it was inserted"
    return row


async def revoke_key(connection: Connection, key_id: UUID) -> Record | None:
    """End the key; returns it, None where there is none."""
    return await connection.fetchrow(REVOKE_KEY, key_id)
