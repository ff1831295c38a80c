"""Producers' keys as an operator handles them, while ingest runs."""

import httpx

from services.kernel.keys import PUSH_KEYS
from services.kernel.push_keys import read_keys
from tests.integration.pipeline import Pipeline, until
from tests.integration.test_cli_commands import run
from tests.push.pushing import Ingest, reading


async def test_a_key_is_made_listed_rotated_and_revoked(pipeline: Pipeline, ingest: Ingest) -> None:
    async def status(key: str) -> int:
        async with httpx.AsyncClient(base_url=ingest.url, headers={"Authorization": f"Bearer {key}"}) as client:
            return (await client.post("/v1/readings", json=reading(1, "my-pool"))).status_code

    async def answers(key: str, expected: int) -> None:
        async def does() -> bool:
            return await status(key) == expected

        await until(does, f"{expected} for the key")

    made = run(pipeline, "keys", "push", "create", "my-pool", "--kind", "readings", "--name", "pool of mine")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    await answers(key, 202)
    sent = PUSH_KEYS.read(key)
    assert sent is not None
    kept = (await read_keys(pipeline.kafka))[sent.key_id]
    assert (kept.source, kept.kinds, kept.name) == ("my-pool", ("readings",), "pool of mine")
    assert sent.secret.encode() not in repr(kept).encode()
    listed = run(pipeline, "keys", "push", "list")
    assert str(sent.key_id) in listed.stdout
    assert sent.secret not in listed.stdout

    rotated = run(pipeline, "keys", "push", "rotate", str(sent.key_id), "--overlap", "1h")
    assert rotated.returncode == 0, rotated.stderr
    assert "The old key holds until " in rotated.stderr
    fresh = rotated.stdout.strip()
    await answers(fresh, 202)
    assert await status(key) == 202

    revoked = run(pipeline, "keys", "push", "revoke", str(sent.key_id))
    assert revoked.stdout == "pool of mine is revoked.\n"
    await answers(key, 401)
    assert await status(fresh) == 202
    again = run(pipeline, "keys", "push", "revoke", str(sent.key_id))
    assert (again.returncode, "has ended already" in again.stderr) == (1, True)


async def test_mistakes_are_one_sentence_and_make_no_key(pipeline: Pipeline) -> None:
    before = await read_keys(pipeline.kafka)
    for arguments, said in (
        (("create", "My Pool"), "source: 1 to 50 of a-z"),
        (("create", "my-pool", "--kind", "settlements"), "--kind is readings or earnings, not 'settlements'."),
        (("create", "my-pool", "--expires", "2020-01-01"), "is over already"),
        (("rotate", "00000000-0000-0000-0000-000000000000"), "There is no key"),
    ):
        tried = run(pipeline, "keys", "push", *arguments)
        assert tried.returncode in {1, 2}
        assert said in tried.stderr
        assert "Traceback" not in tried.stderr
    assert await read_keys(pipeline.kafka) == before
