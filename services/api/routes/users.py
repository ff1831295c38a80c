"""Users of the portal: their profiles, and which nodes are theirs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from uuid import UUID

import asyncpg
from fastapi import APIRouter, Request, Response

from services.api.access import Principal, forbidden
from services.api.answers import json_answer
from services.api.context import Admin, Reader, UsedApi
from services.api.parameters import Identifier, UserId
from services.api.problems import ProblemError, not_found
from services.api.routes.nodes import identifier_of, node_id_of
from services.api.schemas import Assignment, AssignmentRequest, Assignments, Profile, ProfileChange, Scope
from services.api.store import access as store

router = APIRouter(prefix="/users", tags=["users"])

_NOW = timedelta()


@router.get("/{user_id}", response_model=Profile)
async def show_profile(request: Request, api: UsedApi, caller: Reader, user_id: UserId) -> Response:
    """A user's profile. Needs the scope `users`, or to be this user."""
    _check(caller, user_id)
    async with api.reads.connection() as connection:
        row = await store.profile(connection, user_id)
    if row is None:
        raise not_found(f"The user {user_id}")
    return json_answer(request, Profile(**dict(row)), fresh_for=_NOW, private=True)


@router.patch("/{user_id}", response_model=Profile)
async def change_profile(request: Request, api: UsedApi, _: Admin, user_id: UserId, change: ProfileChange) -> Response:
    """Change telegram, discord or currency_preference."""
    async with api.writes.transaction() as connection:
        row = await store.change_profile(
            connection,
            user_id,
            sorted(change.model_fields_set),
            change.telegram,
            change.discord,
            change.currency_preference,
        )
    if row is None:
        raise not_found(f"The user {user_id}")
    return json_answer(request, Profile(**dict(row)), fresh_for=_NOW, private=True)


@router.get("/{user_id}/nodes", response_model=Assignments)
async def list_assignments(request: Request, api: UsedApi, caller: Reader, user_id: UserId) -> Response:
    """A user's nodes, and who assigned them. Needs the scope `users`, or to be this user."""
    _check(caller, user_id)
    async with api.reads.connection() as connection:
        if await store.profile(connection, user_id) is None:
            raise not_found(f"The user {user_id}")
        rows = await store.assignments(connection, user_id)
    answer = Assignments(as_of=datetime.now(UTC), user_id=user_id, items=[Assignment(**dict(row)) for row in rows])
    return json_answer(request, answer, fresh_for=_NOW, private=True)


@router.put("/{user_id}/nodes/{identifier}", response_model=Assignment)
async def assign(
    request: Request,
    api: UsedApi,
    caller: Admin,
    user_id: UserId,
    identifier: Identifier,
    body: AssignmentRequest | None = None,
) -> Response:
    """Give a node to a user, besides others that it belongs to. Repeating it changes nothing."""
    assigned_by = caller.user_id if body is None or body.assigned_by is None else body.assigned_by
    async with api.writes.transaction() as connection, _known_users():
        node_id = await node_id_of(connection, identifier_of(identifier))
        row = await store.assign(connection, user_id, node_id, assigned_by)
    return json_answer(request, Assignment(**dict(row)), fresh_for=_NOW, private=True)


@router.delete("/{user_id}/nodes/{identifier}", status_code=HTTPStatus.NO_CONTENT)
async def unassign(api: UsedApi, _: Admin, user_id: UserId, identifier: Identifier) -> Response:
    """Take a node from a user; its data stays."""
    name = identifier_of(identifier)
    async with api.writes.transaction() as connection:
        taken = await store.unassign(connection, user_id, await node_id_of(connection, name))
    if not taken:
        raise not_found(f"An assignment of {name!r} to the user {user_id}")
    return Response(None, HTTPStatus.NO_CONTENT)


@asynccontextmanager
async def _known_users() -> AsyncIterator[None]:
    try:
        yield
    except asyncpg.ForeignKeyViolationError as error:
        field = "assigned_by" if "assigned_by" in (error.constraint_name or "") else "user_id"
        raise ProblemError(
            HTTPStatus.NOT_FOUND, "not_found", f"{field}: this user is not known.", parameter=field
        ) from None


def _check(caller: Principal, user_id: UUID) -> None:
    if not caller.may_see(user_id):
        raise forbidden(Scope.USERS)
