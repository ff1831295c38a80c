"""Who may ask for what, how often, and what answers and logs keep to themselves; users, their nodes and keys."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import httpx
import jwt
import pytest

from services.kernel.keys import sha256
from tests.api.rows import Rows, ago, bearer
from tests.api.server import RunningApi, problem_of, running
from tests.integration.pipeline import Pipeline
from tests.schema.sessions import value
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

JWT_SECRET = "of-the-portal:" + "64-bytes-are-what-HS512-asks-for." * 2
PAGE = "https://portal.example"
LIMIT = 40
NODE, ML_NODE = "gonka1owned", "gonka1owned/node-1"


@pytest.fixture(scope="module")
def api(pipeline: Pipeline) -> Iterator[RunningApi]:
    """It listens on all addresses, so that keys are needed; callers are told apart by X-Forwarded-For."""
    settings = {
        "MINEGNK_API_HOST": "0.0.0.0",
        "MINEGNK_API_JWT_SECRET": JWT_SECRET,
        "MINEGNK_API_JWT_AUDIENCE": "minegnk",
        "MINEGNK_API_CORS_ORIGINS": PAGE,
        "MINEGNK_API_RATE_LIMIT": str(LIMIT),
    }
    with running(pipeline, **settings) as api:
        yield api


@pytest.fixture(scope="module", autouse=True)
def nodes(rows: Rows) -> None:
    rows.node(NODE, display_name="Mine", age=5)
    rows.node(ML_NODE, identifier_type="node_id", age=5)


@pytest.fixture
def user(rows: Rows) -> UUID:
    return rows.user(f"{uuid4()}@example.org", name="A user")


@pytest.fixture
def admin(rows: Rows) -> dict[str, str]:
    """A key of its own for each test: the rate limit counts by key."""
    return bearer(rows.key("admin"))


def token(secret: str = JWT_SECRET, algorithm: str = "HS256", **claims: object) -> dict[str, str]:
    whole = {"sub": str(uuid4()), "aud": "minegnk", "exp": datetime.now(UTC) + timedelta(minutes=5), **claims}
    given = {name: claim for name, claim in whole.items() if claim is not None}
    return bearer(jwt.encode(given, secret, algorithm))


def from_address(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def test_on_another_address_than_a_loopback_one_a_key_is_needed(api: RunningApi, rows: Rows) -> None:
    assert '"access": "keys"' in api.log
    response = api.ask("GET", "/nodes", headers=from_address("192.0.2.1"))
    assert problem_of(response)["code"] == "unauthorized"
    assert response.headers["www-authenticate"].startswith("Bearer")
    assert api.ask("GET", "/openapi.json").status_code == 200
    for scope in ("read", "users", "admin"):
        assert api.ask("GET", "/nodes", headers=bearer(rows.key(scope))).status_code == 200


def test_a_key_is_kept_as_a_hash(rows: Rows) -> None:
    key = rows.key("read", name="hashed")
    kept = value(rows.connection, "SELECT secret_sha256 FROM api_keys WHERE name = 'hashed'")
    assert kept == sha256(key.rpartition("mgnk_")[2].partition("_")[2])
    row = rows.connection.execute("SELECT to_jsonb(api_keys)::text FROM api_keys WHERE name = 'hashed'").fetchone()
    assert key[-43:] not in str(row)


def test_a_key_that_is_wrong_expired_or_revoked_opens_nothing(api: RunningApi, rows: Rows) -> None:
    good = rows.key("read")
    for number, key in enumerate(
        [
            rows.key("read", expires_at=ago(seconds=1)),
            rows.key("read", revoked_at=ago(seconds=1)),
            good[:-1] + ("A" if good[-1] != "A" else "B"),
            good + "A",
            good.upper(),
            "mgnk_",
        ]
    ):
        headers = {**bearer(key), **from_address(f"192.0.2.{number + 10}")}
        assert problem_of(api.ask("GET", "/nodes", headers=headers))["code"] == "unauthorized"


def test_a_revoked_key_ends_within_ten_seconds(api: RunningApi, admin: dict[str, str]) -> None:
    made = api.ask("POST", "/keys", headers=admin, json={"name": "short", "scopes": ["read"]})
    assert made.status_code == 201
    assert made.headers["cache-control"] == "no-store"
    key = made.json()
    mine = bearer(key["secret"])
    assert api.ask("GET", "/summary", headers=mine).status_code == 200
    began = time.monotonic()
    first, again = (api.ask("DELETE", f"/keys/{key['id']}", headers=admin).json() for _ in range(2))
    assert first["revoked_at"] is not None
    assert again["revoked_at"] == first["revoked_at"]

    def refused() -> bool:  # 429 in between: the key's rate limit, until there is no key any more
        return api.ask("GET", "/summary", headers={**mine, **from_address("192.0.2.30")}).status_code == 401

    wait_until(refused, 15)
    assert time.monotonic() - began < 12
    listed = api.ask("GET", "/keys", headers=admin)
    assert key["secret"] not in listed.text
    assert key["id"] in [each["id"] for each in listed.json()["items"]]


@pytest.mark.parametrize("scope", ["read", "users"])
def test_changes_need_the_scope_admin(api: RunningApi, rows: Rows, user: UUID, scope: str) -> None:
    headers = bearer(rows.key(scope, user_id=user))
    for method, path, body in [
        ("PUT", f"/users/{user}/nodes/{NODE}", None),
        ("DELETE", f"/users/{user}/nodes/{NODE}", None),
        ("PATCH", f"/users/{user}", {"telegram": "@me"}),
        ("GET", "/keys", None),
        ("POST", "/keys", {"name": "mine", "scopes": ["admin"]}),
        ("DELETE", f"/keys/{uuid4()}", None),
    ]:
        problem = api.problem(path, method=method, headers=headers, json=body)
        assert (problem["status"], problem["code"]) == (403, "forbidden"), path
    assert value(rows.connection, "SELECT telegram IS NULL FROM users WHERE id = %s", (user,))


def test_a_reader_s_key_sees_its_own_user_alone(api: RunningApi, rows: Rows, user: UUID) -> None:
    other = rows.user(f"{uuid4()}@example.org")
    own, all_users = bearer(rows.key("read", user_id=user)), bearer(rows.key("users"))
    for path in ("/users/{}", "/users/{}/nodes", "/nodes?user={}", "/trends?dimension=user&key={}"):
        assert api.ask("GET", path.format(user), headers=own).status_code == 200
        assert problem_of(api.ask("GET", path.format(other), headers=own))["status"] == 403
        assert api.ask("GET", path.format(other), headers=all_users).status_code == 200
    assert problem_of(api.ask("GET", "/earnings?dimension=user", headers=bearer(rows.key("read"))))["status"] == 403


def test_the_portal_s_tokens_are_taken(api: RunningApi, user: UUID) -> None:
    mine = token(sub=str(user))
    assert api.ask("GET", f"/users/{user}", headers=mine).json()["name"] == "A user"
    assert problem_of(api.ask("GET", f"/users/{uuid4()}", headers=mine))["status"] == 403
    assert problem_of(api.ask("GET", "/keys", headers=mine))["status"] == 403
    assert api.ask("GET", "/keys", headers=token(sub=str(user), role="admin")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        token(secret="x" * 40),
        token(exp=datetime.now(UTC) - timedelta(seconds=5)),
        token(exp=None),
        token(sub=None),
        token(sub="root"),
        token(aud=None),
        token(aud="another"),
        token(nbf=datetime.now(UTC) + timedelta(hours=1)),
        token(secret="", algorithm="none"),
        token(algorithm="HS512"),
        bearer("a.b.c"),
        bearer("W1tbW1tb" * 5_000 + ".e30.x"),  # deeply nested JSON
    ],
)
def test_a_token_that_is_not_the_portal_s_is_refused(api: RunningApi, headers: dict[str, str]) -> None:
    response = api.ask("GET", "/nodes", headers={**headers, **from_address("192.0.2.40")})
    assert problem_of(response)["code"] == "unauthorized"
    assert "unforeseen_error" not in api.log


def test_requests_are_counted_for_each_caller(api: RunningApi, rows: Rows) -> None:
    key = bearer(rows.key("read"))
    for left in reversed(range(LIMIT)):
        response = api.ask("GET", "/nodes?limit=1", headers=key)
        if int(response.headers["ratelimit-remaining"]) != left:
            pytest.fail("another window began amid the test: it lasts a minute")
        assert response.headers["ratelimit-limit"] == str(LIMIT)
        assert 1 <= int(response.headers["ratelimit-reset"]) <= 61
    refused = api.ask("GET", "/nodes", headers=key)
    assert problem_of(refused)["code"] == "too_many_requests"
    assert refused.status_code == 429
    assert refused.headers["ratelimit-remaining"] == "0"
    assert 1 <= int(refused.headers["retry-after"]) <= 61
    assert api.ask("GET", "/nodes", headers=bearer(rows.key("read"))).status_code == 200


def test_wrong_keys_are_counted_by_address(api: RunningApi) -> None:
    headers = {**bearer("mgnk_wrong"), **from_address("192.0.2.50")}
    codes = [api.ask("GET", "/nodes", headers=headers).status_code for _ in range(LIMIT + 1)]
    assert set(codes[:LIMIT]) == {401}
    assert codes[LIMIT] == 429
    headers = {**headers, **from_address("192.0.2.51")}
    assert api.ask("GET", "/nodes", headers=headers).status_code == 401


def test_only_named_origins_may_read(api: RunningApi, admin: dict[str, str]) -> None:
    ask = {"Origin": PAGE, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    allowed = api.ask("OPTIONS", "/nodes", headers=ask)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == PAGE
    read = api.ask("GET", "/nodes", headers={**admin, "Origin": PAGE})
    assert read.headers["access-control-allow-origin"] == PAGE
    assert "ETag" in read.headers["access-control-expose-headers"]
    foreign = api.ask("OPTIONS", "/nodes", headers={**ask, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers
    read = api.ask("GET", "/nodes", headers={**admin, "Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in read.headers


def safe(response: httpx.Response) -> None:
    headers = response.headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "server" not in headers


def test_every_answer_keeps_browsers_safe(api: RunningApi, admin: dict[str, str]) -> None:
    safe(api.ask("GET", "/nodes", headers=admin))
    safe(api.ask("GET", "/nodes", headers=from_address("192.0.2.60")))
    safe(api.ask("GET", "/nothing"))
    safe(api.ask("POST", "/nodes"))
    safe(api.ask("POST", "/keys", content=b"a" * 100_000))
    for path in ("/", "/static/app.js", "/livez"):
        safe(api.client.get(f"http://127.0.0.1:{api.port}{path}"))


def test_answers_for_a_key_are_not_for_shared_caches(api: RunningApi, admin: dict[str, str], user: UUID) -> None:
    for path in ("/nodes", f"/nodes/{NODE}", "/summary", f"/users/{user}"):
        headers = api.ask("GET", path, headers=admin).headers
        assert headers["cache-control"].startswith("private")
        assert "Authorization" in headers["vary"]


def test_a_node_belongs_to_several_users_and_says_who_gave_it(
    api: RunningApi, rows: Rows, user: UUID, admin: dict[str, str]
) -> None:
    other, giver = rows.user(f"{uuid4()}@example.org"), rows.user(f"{uuid4()}@example.org")
    for owner in (user, other):
        answer = api.ask("PUT", f"/users/{owner}/nodes/{NODE}", headers=admin, json={"assigned_by": str(giver)})
        assert answer.status_code == 200
        given = answer.json()
        assert (given["identifier"], given["assigned_by"]) == (NODE, str(giver))
        assert abs((datetime.now(UTC) - datetime.fromisoformat(given["assigned_at"])).total_seconds()) < 10
        again = api.ask("PUT", f"/users/{owner}/nodes/{NODE}", headers=admin, json={"assigned_by": str(other)})
        assert again.json() == given
    keyed = bearer(rows.key("admin", user_id=giver))
    by_key = api.ask("PUT", f"/users/{user}/nodes/{ML_NODE.replace('/', '%2F')}", headers=keyed).json()
    assert (by_key["identifier"], by_key["assigned_by"]) == (ML_NODE, str(giver))

    listed = api.ask("GET", f"/users/{user}/nodes", headers=admin).json()["items"]
    assert [(each["identifier"], each["display_name"]) for each in listed] == [(NODE, "Mine"), (ML_NODE, None)]
    assert api.ask("DELETE", f"/users/{user}/nodes/{NODE}", headers=admin).status_code == 204
    assert api.problem(f"/users/{user}/nodes/{NODE}", method="DELETE", headers=admin)["code"] == "not_found"
    assert [each["identifier"] for each in api.ask("GET", f"/nodes?user={user}", headers=admin).json()["items"]] == [
        ML_NODE
    ]
    left = api.ask("GET", f"/users/{other}/nodes", headers=admin).json()["items"]
    assert [each["identifier"] for each in left] == [NODE]


def test_an_assignment_names_a_node_and_users_that_are_known(
    api: RunningApi, user: UUID, admin: dict[str, str]
) -> None:
    nobody = uuid4()
    for path, body, parameter in [
        (f"/users/{user}/nodes/gonka1nobody", {}, None),
        (f"/users/{nobody}/nodes/{NODE}", {}, "user_id"),
        (f"/users/{user}/nodes/{NODE}", {"assigned_by": str(nobody)}, "assigned_by"),
    ]:
        problem = api.problem(path, method="PUT", headers=admin, json=body)
        assert (problem["status"], problem.get("parameter")) == (404, parameter)
    assert api.problem(f"/users/{nobody}", headers=admin)["status"] == 404
    assert api.problem(f"/users/{nobody}/nodes", headers=admin)["status"] == 404
    assert api.problem(f"/keys/{nobody}", method="DELETE", headers=admin)["status"] == 404
    key = {"name": "of nobody", "scopes": ["read"], "user_id": str(nobody)}
    assert api.problem("/keys", method="POST", headers=admin, json=key)["parameter"] == "user_id"


def test_a_profile_changes_by_the_fields_that_are_given(api: RunningApi, user: UUID, admin: dict[str, str]) -> None:
    def change(**fields: str | None) -> dict[str, str | None]:
        answer: dict[str, str | None] = api.ask("PATCH", f"/users/{user}", headers=admin, json=fields).json()
        return answer

    assert change(telegram="@me", currency_preference="EUR")["telegram"] == "@me"
    kept = change(discord="me#1")
    assert kept == {
        "id": str(user),
        "name": "A user",
        "telegram": "@me",
        "discord": "me#1",
        "currency_preference": "EUR",
    }
    assert change(telegram=None) == {**kept, "telegram": None}
    assert change() == {**kept, "telegram": None}
    assert api.ask("GET", f"/users/{user}", headers=admin).json() == {**kept, "telegram": None}
    problem = api.problem(f"/users/{user}", method="PATCH", headers=admin, json={"email": "a@example.org"})
    assert (problem["status"], problem["parameter"]) == (422, "email")


def test_no_secret_is_written_to_the_log(api: RunningApi, rows: Rows, pipeline: Pipeline) -> None:
    key, jwt_header = rows.key("admin"), token()
    for headers in (bearer(key), bearer(key[:-2] + "xx"), jwt_header):
        api.ask("GET", "/nodes", headers={**headers, **from_address("192.0.2.70")})
        api.ask("POST", "/keys", headers=headers, content=b"{")
    log = api.log
    for secret in (JWT_SECRET, key[-43:-2], jwt_header["Authorization"][-20:]):
        assert secret not in log
    assert pipeline.database.password.get_secret_value() not in log


def test_open_access_is_for_reading_alone(pipeline: Pipeline, user: UUID) -> None:
    with running(pipeline) as loopback:
        assert '"access": "open"' in loopback.log
        assert loopback.get("/nodes")["total"] == 2
        assert loopback.get(f"/users/{user}")["name"] == "A user"
        assert "ratelimit-limit" not in loopback.ask("GET", "/nodes").headers
        assert loopback.ask("GET", "/nodes").headers["cache-control"].startswith("public")
        for method, path in [("GET", "/keys"), ("PUT", f"/users/{user}/nodes/{NODE}"), ("PATCH", f"/users/{user}")]:
            problem = loopback.problem(path, method=method, json={})
            assert (problem["status"], problem["code"]) == (401, "unauthorized")
        assert "access-control-allow-origin" not in loopback.ask("GET", "/nodes", headers={"Origin": PAGE}).headers
