"""Keys that programs send to prove who they are. Only the hash of a key's secret is ever kept."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID


class SentKey(NamedTuple):
    """What a key's text says: which key it is, and the secret that its holder knows."""

    key_id: UUID
    secret: str

    def proves(self, secret_sha256: bytes) -> bool:
        """Whether the secret is the one with this hash; takes as long whatever is wrong."""
        return hmac.compare_digest(sha256(self.secret), secret_sha256)


@dataclass(frozen=True)
class KeyForm:
    """How keys of one purpose are written: `PREFIX_ID_SECRET`, so that a leaked one is recognised for what it is."""

    prefix: str

    def text(self, key_id: UUID, secret: str) -> str:
        """A key as its holder sends it."""
        return f"{self.prefix}_{key_id.hex}_{secret}"

    def read(self, text: str) -> SentKey | None:
        """What a text says that has this form, else None."""
        match = re.fullmatch(rf"{self.prefix}_([0-9a-f]{{32}})_([A-Za-z0-9_-]{{43}})", text, re.ASCII)
        return None if match is None else SentKey(UUID(match[1]), match[2])


API_KEYS = KeyForm("mgnk")
PUSH_KEYS = KeyForm("mgnp")


def new_secret() -> str:
    """32 random bytes as 43 characters."""
    return secrets.token_urlsafe(32)


def sha256(secret: str) -> bytes:
    """What is kept of a secret. It is random and long: a slow hash would protect it no better."""
    return hashlib.sha256(secret.encode()).digest()
