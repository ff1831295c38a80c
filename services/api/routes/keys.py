"""API keys: made, listed, revoked. A secret is told once."""

from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Path, Request, Response

from services.api.answers import json_answer
from services.api.context import Admin, UsedApi
from services.api.problems import ProblemError, invalid, not_found
from services.api.schemas import Key, KeyRequest, Keys, NewKey
from services.api.store import access as store
from services.kernel.keys import API_KEYS, new_secret, sha256

router = APIRouter(prefix="/keys", tags=["keys"])

_NOW = timedelta()
_LATEST = datetime(9999, 1, 1, tzinfo=UTC)


@router.get("", response_model=Keys)
async def list_keys(request: Request, api: UsedApi, _: Admin) -> Response:
    """All keys, also revoked ones."""
    async with api.writes.connection() as connection:
        rows = await store.keys(connection)
    answer = Keys(as_of=datetime.now(UTC), items=[_key(row) for row in rows])
    return json_answer(request, answer, fresh_for=_NOW, private=True)


@router.post("", response_model=NewKey, status_code=HTTPStatus.CREATED)
async def add_key(api: UsedApi, _: Admin, wanted: KeyRequest) -> Response:
    """Make a key. Its secret is in this answer and nowhere else."""
    if wanted.expires_at is not None and not datetime.now(UTC) < wanted.expires_at < _LATEST:
        raise invalid("expires_at", "expires_at is a time to come, of no later year than 9998.")
    secret = new_secret()
    scopes = sorted({scope.value for scope in wanted.scopes})
    try:
        async with api.writes.transaction() as connection:
            row = await store.add_key(
                connection, wanted.name, sha256(secret), scopes, wanted.user_id, wanted.expires_at
            )
    except asyncpg.ForeignKeyViolationError:
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "not_found", f"The user {wanted.user_id} is not known.", parameter="user_id"
        ) from None
    key = NewKey(**_key(row).model_dump(), secret=API_KEYS.text(row["id"], secret))
    return Response(key.model_dump_json(), HTTPStatus.CREATED, {"Cache-Control": "no-store"}, "application/json")


@router.delete("/{key_id}", response_model=Key)
async def revoke_key(
    request: Request, api: UsedApi, _: Admin, key_id: Annotated[UUID, Path(description="The key's id.")]
) -> Response:
    """End a key, within 10 seconds. Repeating it changes nothing."""
    async with api.writes.transaction() as connection:
        row = await store.revoke_key(connection, key_id)
    if row is None:
        raise not_found(f"The key {key_id}")
    return json_answer(request, _key(row), fresh_for=_NOW, private=True)


def _key(row: asyncpg.Record) -> Key:
    return Key(**{name: row[name] for name in Key.model_fields})
