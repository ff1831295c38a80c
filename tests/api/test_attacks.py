"""What nobody sends by mistake: every answer is a problem document, none a 500, and no row is touched."""

import base64
import itertools
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from tests.api.rows import Rows, bearer, today
from tests.api.server import RunningApi, problem_of
from tests.schema.sessions import value

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

NODE = "gonka1target"
HOSTILE = [
    "' OR '1'='1",
    "x'; DROP TABLE nodes; --",
    "1); SELECT pg_sleep(20); --",
    "%' UNION SELECT secret_sha256::text FROM api_keys --",
    "$1",
    "{0}",
    "\\'; --",
    "\u202e\u0000hidden",
    "\ud7ff\ue000\U0010ffff",
    "9" * 400,
    "-1",
    "1e309",
    "NaN",
    "a" * 60_000,
    "../" * 50,
    "",
]


@pytest.fixture(scope="module", autouse=True)
def target(rows: Rows) -> None:
    rows.node(NODE, status="healthy", age=5, earnings_total="1")
    rows.node("a/b", identifier_type="node_id", age=5)
    rows.history(NODE, {today(): "1"})


@pytest.fixture(scope="module")
def admin(rows: Rows) -> dict[str, str]:
    return bearer(rows.key("admin"))


@pytest.fixture(autouse=True)
def unhurt(api: RunningApi, rows: Rows) -> Iterator[None]:
    before = value(rows.connection, "SELECT count(*) FROM nodes")
    yield
    assert value(rows.connection, "SELECT count(*) FROM nodes") == before
    assert "unforeseen_error" not in api.log
    assert "Traceback" not in api.log


def asked_parameters() -> list[tuple[str, str]]:
    """Every path and parameter that can be read with GET; the API's own tests of the document see that none is new."""
    listed = ["q", "status", "gpu_type", "region", "source", "user", "stale", "sort", "limit", "cursor", "format"]
    dates = ["since", "until"]
    return [
        *[("/nodes", name) for name in listed],
        ("/nodes/{}", "wait"),
        *[(f"/nodes/{NODE}/earnings", name) for name in ["group", *dates, "tz", "limit", "cursor", "format"]],
        *[(f"/nodes/{NODE}/timeline", name) for name in dates],
        *[("/earnings", name) for name in ["dimension", "key", "group", *dates, "format"]],
        *[("/trends", name) for name in ["dimension", "key", "span"]],
        ("/events", "node"),
    ]


def test_every_parameter_of_the_document_is_attacked(api: RunningApi) -> None:
    document = api.get("/openapi.json")
    named = {
        (path.removeprefix("/api/v1").replace("{identifier}", NODE), parameter["name"])
        for path, operations in document["paths"].items()
        for parameter in operations.get("get", {}).get("parameters", ())
        if parameter["in"] == "query"
    }
    assert named == {(path.format(NODE), name) for path, name in asked_parameters()}


@pytest.mark.parametrize(("path", "name"), asked_parameters())
def test_a_hostile_value_finds_nothing_or_is_a_problem(api: RunningApi, path: str, name: str) -> None:
    path = path.format(NODE)
    usual = set() if path != "/nodes" else {NODE, "a/b"}
    for text in HOSTILE:
        with api.client.stream("GET", f"{api.url}{path}", params={name: text}, timeout=10) as response:
            if response.status_code == 200:
                if path != "/events":  # which would not end
                    found = json.loads(response.read())
                    assert name == "cursor" or not {item.get("identifier") for item in found.get("items", ())} & usual
                continue
            response.read()
        assert response.status_code == 422, (text, response.text)
        assert problem_of(response)["parameter"] == name, text


@pytest.mark.parametrize("text", [each for each in HOSTILE if each and "\x00" not in each])
def test_a_hostile_identifier_is_not_known(api: RunningApi, text: str) -> None:
    encoded = httpx.URL("http://a/", params={"x": text}).query.decode().removeprefix("x=").replace("+", "%20")
    for suffix in ("", "/earnings", "/timeline"):
        answer = api.raw(f"/api/v1/nodes/{encoded}{suffix}")
        assert answer.problem()["status"] == (422 if len(text) > 255 else 404)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/v1/nodes/..%2f..%2fetc%2fpasswd", 404),
        ("/api/v1/nodes/%2e%2e", 404),
        ("/api/v1/nodes/../nodes", 404),
        ("/api/v1/../v1/nodes", 404),
        ("/api/v1/nodes/", 404),
        ("/api/v1//nodes", 404),
        ("//api/v1/nodes", 404),
        ("//evil.example/api/v1/nodes", 404),
        ("/API/V1/nodes", 404),
        ("/api/v1/nodes;a=b", 404),
        ("/api/v1/nodes%00", 404),
        ("/api/v1/nodes%2f" + NODE, 404),
        ("/api/v1/nodes/a%00b", 404),
        ("/api/v1/nodes/%ff%fe", 404),
        ("/api/v1/nodes/%", 404),
        ("/api/v1/nodes/%zz", 404),
        ("/api/v1/nodes/%C0%AF", 404),
        (b"/api/v1/nodes/\xff\xfe", 400),
        ("/api/v1/nodes/" + "a" * 60_000, 422),
        ("/api/v1/nodes/%252f", 404),
        ("/api/v1/users/1/nodes", 422),
        ("/static/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", 404),
        ("/static/../app.py", 404),
        ("/static/%2e%2e/app.py", 404),
        ("/static/%2e%2e%2fapp.py", 404),
        ("/static//etc/passwd", 404),
        ("/static/%00", 404),
        ("/static/" + "a/" * 10_000, 404),
        ("/static/", 404),
        ("/app.py", 404),
        ("/metrics", 404),
        ("/docs", 404),
        ("/.env", 404),
        ("*", 404),
    ],
)
def test_a_path_with_a_trick_leads_nowhere(api: RunningApi, target: str | bytes, status: int) -> None:
    assert api.raw(target).problem()["status"] == status


@pytest.mark.parametrize("target", ["/api/v1/nodes/a%2Fb", "/api/v1/nodes/%61%2fb", "http://a/api/v1/nodes/a%2Fb"])
def test_an_encoded_slash_is_part_of_an_identifier(api: RunningApi, target: str) -> None:
    assert json.loads(api.raw(target).body)["identifier"] == "a/b"


def cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "====",
        "%00",
        "ÿ",
        "a" * 1024,
        "a" * 1025,
        base64.urlsafe_b64encode(b"\xff" * 30).decode(),
        base64.urlsafe_b64encode(b"[" * 700).decode(),
        cursor(),
        cursor("jobs"),
        cursor("jobs", 1, NODE),
        cursor("jobs", "1", NODE, "more"),
        cursor("identifier", "1", NODE),
        cursor("-jobs", "1", NODE),
        cursor("jobs", "1", f"{NODE}\x00"),
        cursor("jobs", "1", "\ud800"),
        cursor("jobs", "one", NODE),
        cursor("jobs", "1.5", NODE),
        cursor("jobs", "2147483648", NODE),
        cursor("jobs", "-99999999999999999999", NODE),
        cursor("jobs", "9" * 600, NODE),
    ],
)
def test_a_cursor_that_is_not_ours_is_refused(api: RunningApi, text: str) -> None:
    problem = api.problem("/nodes", params={"sort": "jobs", "cursor": text})
    assert (problem["status"], problem["parameter"]) == (422, "cursor")


@pytest.mark.parametrize(
    "number", ["NaN", "sNaN", "Infinity", "1e41", "1e-99999999", "1e999999999999", "0x1", "\u0661", ""]
)
def test_a_number_in_a_cursor_is_one_that_an_amount_can_be(api: RunningApi, number: str) -> None:
    text = cursor("earnings_total", number, NODE)
    response = api.ask("GET", "/nodes", params={"sort": "earnings_total", "cursor": text})
    assert response.status_code in (200, 422), response.text


@pytest.mark.parametrize(
    ("group", "place"),
    [
        ("day", "0000-01-01"),
        ("day", "10000-01-01"),
        ("week", "1"),
        ("epoch", "99999999999"),
        ("epoch", "2026-01-01"),
        ("epoch", "1" * 700),
    ],
)
def test_a_cursor_of_earnings_names_a_date_or_an_epoch(api: RunningApi, group: str, place: str) -> None:
    problem = api.problem(f"/nodes/{NODE}/earnings", params={"group": group, "cursor": cursor(group, place, "")})
    assert (problem["status"], problem["parameter"]) == (422, "cursor")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "LINK"])
@pytest.mark.parametrize("path", ["/api/v1/nodes", f"/api/v1/nodes/{NODE}", "/api/v1/summary", "/static/app.js", "/"])
def test_a_method_that_an_address_does_not_take_is_named(api: RunningApi, method: str, path: str) -> None:
    answer = api.raw(path, method=method)
    assert answer.problem()["code"] == "method_not_allowed"
    if path != "/static/app.js":
        assert "GET" in {name.lower(): text for name, text in answer.headers.items()}["allow"]


def test_every_method_that_an_address_takes_is_named(api: RunningApi) -> None:
    for path, operations in api.get("/openapi.json")["paths"].items():
        address = path.format(identifier=NODE, user_id=UUID(int=0), key_id=UUID(int=0))
        allowed = set(api.raw(address, method="TRACE").headers["allow"].split(", "))
        assert allowed - {"HEAD"} == {method.upper() for method in operations}


@pytest.mark.parametrize("path", ["/nodes", f"/nodes/{NODE}", "/summary", "/openapi.json"])
def test_head_is_get_without_its_body(api: RunningApi, path: str) -> None:
    answers = {method: api.ask(method, path) for method in ("HEAD", "GET")}
    assert {method: answer.status_code for method, answer in answers.items()} == {"HEAD": 200, "GET": 200}
    assert answers["HEAD"].content == b""
    assert answers["HEAD"].headers.get("etag") == answers["GET"].headers.get("etag")


def test_head_of_the_live_changes_ends(api: RunningApi) -> None:
    response = api.ask("HEAD", "/events")
    assert (response.status_code, response.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


@pytest.mark.parametrize(
    "request_",
    [
        b"FOO / HTTP/1.1\r\n\r\n",
        b"GET /api/v1/nodes HTTP/1.1\r\nHost a\r\n\r\n",
        b"GET /api/v1/no des HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_request_is_a_problem_too(api: RunningApi, request_: bytes) -> None:
    assert 400 <= api.exchange(request_).problem()["status"] < 500


def test_a_head_without_end_is_refused(api: RunningApi) -> None:
    begin = b"GET /api/v1/nodes HTTP/1.1\r\nHost: a\r\nX-Long: "
    problem = api.exchange(begin, more=itertools.repeat(b"a" * 65_536, 200)).problem()
    assert problem["code"] == "head_too_large"
    many = api.exchange(begin + b"a\r\n", more=itertools.repeat(b"X-One: 1\r\n" * 5_000, 200)).problem()
    assert many["status"] == 431


def test_a_body_that_is_too_long_is_refused_unread_and_without_a_key(api: RunningApi) -> None:
    head = b"POST /api/v1/keys HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
    told = api.exchange(head + b"Content-Length: 10000000\r\n\r\n").problem()
    assert (told["status"], told["code"]) == (413, "body_too_large")
    chunk = b"10000\r\n" + b"a" * 65_536 + b"\r\n"
    untold = api.exchange(head + b"Transfer-Encoding: chunked\r\n\r\n", more=itertools.repeat(chunk, 200)).problem()
    assert (untold["status"], untold["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"name": "\\ud800", "scopes": ["read"]}',
        b'{"name": "\\u0000", "scopes": ["read"]}',
        b'{"name": "a", "scopes": ["root"]}',
        b'{"name": "a", "scopes": []}',
        b'{"name": "a", "scopes": ["read"], "secret": "mine"}',
        b'{"name": "a", "scopes": ["read"], "user_id": "1"}',
        b'{"name": "a", "scopes": ["read"], "expires_at": "2030-01-01T00:00:00"}',
        b'{"name": "a", "scopes": ["read"], "expires_at": "0001-01-01T00:00:00+23:59"}',
        b'{"name": "a", "scopes": ["read"], "expires_at": 99999999999999999}',
        b'{"name": "a", "scopes": ["read"], "expires_at": NaN}',
    ],
)
def test_a_body_that_is_no_key_is_refused(api: RunningApi, admin: dict[str, str], body: bytes) -> None:
    headers = {**admin, "Content-Type": "application/json"}
    response = api.ask("POST", "/keys", content=body, headers=headers)
    assert problem_of(response)["status"] in (400, 422)


@pytest.mark.parametrize("field", ["telegram", "discord", "currency_preference"])
@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\x07", "", "a" * 101, ["a"], 1])
def test_a_profile_takes_only_text(
    api: RunningApi, rows: Rows, admin: dict[str, str], field: str, text: object
) -> None:
    user = rows.user(f"{field}-{text!r}@example.org")
    assert api.problem(f"/users/{user}", method="PATCH", headers=admin, json={field: text})["status"] == 422


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": b"Bearer \xff\xfe"},
        {"Authorization": "Bearer " + "a" * 20_000},
        {"Authorization": "Basic YTpi"},
        {"Authorization": "Bearer mgnk_" + "0" * 32 + "_" + "a" * 43},
        {"Authorization": ""},
    ],
)
def test_a_key_that_is_none_is_refused_even_where_access_is_open(api: RunningApi, headers: dict[str, Any]) -> None:
    assert api.problem("/nodes", headers=headers)["code"] == "unauthorized"


@pytest.mark.parametrize(
    "headers",
    [
        {"Accept": ",;,;text/html"},
        {"If-None-Match": b'W/"\xff", *x'},
        {"If-None-Match": "," * 20_000},
        {"Accept-Encoding": "gzip;q=nan, \\"},
        {"Range": "bytes=0-1,5-,-3"},
        {"X-Forwarded-For": "' OR 1=1 --, \\"},
        {"Content-Length": "5"},
        {"Host": "evil.example"},
        {"X-HTTP-Method-Override": "DELETE"},
    ],
)
def test_an_odd_header_changes_nothing(api: RunningApi, headers: dict[str, Any]) -> None:
    content = b"abcde" if "Content-Length" in headers else None
    response = api.ask("GET", "/nodes", headers=headers, content=content)
    assert response.status_code == 200
    assert response.json()["total"] == 2
