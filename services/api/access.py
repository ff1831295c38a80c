"""Who asks, and what they may: keys with scopes, the portal's tokens, or anybody where access is open."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from uuid import UUID

import jwt

from services.api.problems import ProblemError
from services.api.schemas import Scope
from services.kernel.keys import API_KEYS
from services.kernel.settings import ApiSettings

_REMEMBERED_SECONDS: Final = 10.0
_REMEMBERED_KEYS: Final = 10_000


@dataclass(frozen=True, slots=True)
class Principal:
    """Whoever asks. `name` is what the rate limit counts by."""

    name: str
    scopes: frozenset[Scope]
    user_id: UUID | None = None

    def may(self, scope: Scope) -> bool:
        """Whether the scope, or a wider one, is theirs."""
        wider = {Scope.READ: {Scope.USERS, Scope.ADMIN}, Scope.USERS: {Scope.ADMIN}, Scope.ADMIN: set[Scope]()}
        return scope in self.scopes or not self.scopes.isdisjoint(wider[scope])

    def may_see(self, user_id: UUID) -> bool:
        """Whether this user's profile and nodes may be shown to them."""
        return self.may(Scope.USERS) or self.user_id == user_id


@dataclass(frozen=True, slots=True)
class StoredKey:
    """What is kept of a valid key."""

    secret_sha256: bytes
    scopes: frozenset[Scope]
    user_id: UUID | None


FindKey = Callable[[UUID], Awaitable[StoredKey | None]]


class Access:
    """Tells who asks. A key that is found is remembered for 10 s: a revoked one works so long at most."""

    def __init__(
        self, settings: ApiSettings, find_key: FindKey, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._find_key = find_key
        self._clock = clock
        self._remembered: dict[UUID, tuple[float, StoredKey | None]] = {}

    async def principal(self, authorization: str | None, address: str) -> Principal:
        """Who sends this Authorization header, from this address. Raises ProblemError (401)."""
        if authorization is None:
            if self._settings.open:
                return Principal(address, frozenset((Scope.READ, Scope.USERS)))
            raise unauthorized("Send an API key: `Authorization: Bearer KEY`.")
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise unauthorized("Only `Authorization: Bearer KEY` is taken.")
        token = token.strip()
        if sent := API_KEYS.read(token):
            found = await self._find(sent.key_id)
            if found is not None and sent.proves(found.secret_sha256):
                return Principal(f"key {sent.key_id}", found.scopes, found.user_id)
        elif self._settings.jwt_secret is not None and token.count(".") == 2:
            return self._of_token(token)
        raise unauthorized("This key is not known, or no longer valid.")

    async def _find(self, key_id: UUID) -> StoredKey | None:
        now = self._clock()
        known = self._remembered.get(key_id)
        if known is not None and now - known[0] < _REMEMBERED_SECONDS:
            return known[1]
        found = await self._find_key(key_id)
        if len(self._remembered) >= _REMEMBERED_KEYS:
            self._remembered.clear()
        self._remembered[key_id] = now, found
        return found

    def _of_token(self, token: str) -> Principal:
        assert self._settings.jwt_secret is not None, "asked for before"
        try:
            claims = jwt.decode(
                token,
                self._settings.jwt_secret.get_secret_value(),
                algorithms=["HS256"],
                audience=self._settings.jwt_audience,
                options={"require": ["exp", "sub"], "verify_aud": self._settings.jwt_audience is not None},
            )
            user_id = UUID(str(claims["sub"]))
        except (jwt.InvalidTokenError, ValueError):
            raise unauthorized("This token is not valid, or no longer.") from None
        scopes = {Scope.READ, Scope.ADMIN} if claims.get("role") == "admin" else {Scope.READ}
        return Principal(f"user {user_id}", frozenset(scopes), user_id)


def unauthorized(detail: str) -> ProblemError:
    """Nobody knows who asks."""
    return ProblemError(
        HTTPStatus.UNAUTHORIZED, "unauthorized", detail, headers={"WWW-Authenticate": 'Bearer realm="minegnk"'}
    )


def forbidden(scope: Scope) -> ProblemError:
    """Whoever asks may not."""
    return ProblemError(HTTPStatus.FORBIDDEN, "forbidden", f"This needs a key with the scope {scope.value}.")
