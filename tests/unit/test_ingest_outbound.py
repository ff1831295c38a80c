"""Where a tracker's URL may lead: the addresses that a name has when it is connected to, redirects, proxies."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web

from services.ingest.http import Fetcher
from services.ingest.outbound import PublicTransport, is_public
from services.kernel.errors import SourceError
from tests.captured import serving
from tests.secure.certificates import Authority, Certificate
from tests.unit.ingest_fakes import ManualClock, a_fetcher

NAME = "tracker.example.com"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class NameServer:
    """Answers one lookup after the other; the last answer stays."""

    def __init__(self, *answers: list[str]) -> None:
        self._answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append((host, port))
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@asynccontextmanager
async def public_only(names: NameServer, *, public: str = "", timeout: float = 5) -> AsyncIterator[Fetcher]:
    """A fetcher that asks this name server; `public` is an address of this machine that is taken for a public one."""
    fetcher = a_fetcher(
        ManualClock(),
        timeout=timedelta(seconds=timeout),
        allow_private=False,
        new_transport=lambda: PublicTransport(
            resolve=names.resolve, accepts=lambda address: address == public or is_public(address)
        ),
    )
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


def at(url: str, name: str = NAME) -> str:
    """The server's URL under a name."""
    return f"http://{name}:{urlsplit(url).port}"


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["::1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"]])
async def test_a_public_name_that_leads_to_a_private_address_is_not_connected_to(addresses: list[str]) -> None:
    async with serving({"/a": b"1"}) as server, public_only(NameServer(addresses)) as fetcher:
        with pytest.raises(SourceError, match=f"^{NAME}: its name leads to an address that is not public; if it may, "):
            await fetcher.get_json(at(server.url), "/a")
        assert server.requests == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
async def test_the_system_s_own_resolver_is_judged_as_well(host: str) -> None:
    fetcher = a_fetcher(ManualClock(), allow_private=False)
    async with serving({"/a": b"1"}) as server:
        with pytest.raises(SourceError, match="not public"):
            await fetcher.get_json(at(server.url, host), "/a")
        assert server.requests == []
    await fetcher.aclose()


async def test_a_name_that_changes_its_address_is_looked_at_each_time_and_never_twice_for_one_request() -> None:
    async def once(_: web.Request) -> web.Response:
        response = web.json_response(1)
        response.force_close()
        return response

    names = NameServer(["127.0.0.1"], ["127.0.0.2"])
    async with serving({"/a": once}) as server, public_only(names, public="127.0.0.1") as fetcher:
        assert await fetcher.get_json(at(server.url), "/a") == 1
        assert names.asked == [(NAME, urlsplit(server.url).port)]
        with pytest.raises(SourceError, match="not public"):
            await fetcher.get_json(at(server.url), "/a")
        assert server.requests == ["/a"]


async def test_the_host_is_told_by_its_name() -> None:
    def host(request: web.Request) -> web.Response:
        return web.json_response(request.headers["Host"])

    names = NameServer(["127.0.0.1"])
    async with serving({"/a": host}) as server, public_only(names, public="127.0.0.1") as fetcher:
        assert await fetcher.get_json(at(server.url), "/a") == f"{NAME}:{urlsplit(server.url).port}"


async def test_the_next_address_is_tried_where_one_does_not_answer() -> None:
    names = NameServer(["127.0.0.9", "127.0.0.1"])  # nobody listens on the first
    fetcher = a_fetcher(
        ManualClock(),
        allow_private=False,
        new_transport=lambda: PublicTransport(resolve=names.resolve, accepts=lambda _: True),
    )
    async with serving({"/a": b"1"}) as server:
        assert await fetcher.get_json(at(server.url), "/a") == 1
    await fetcher.aclose()


async def test_a_name_without_an_address_cannot_be_connected_to() -> None:
    async def fails(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    fetcher = a_fetcher(ManualClock(), allow_private=False, new_transport=lambda: PublicTransport(resolve=fails))
    with pytest.raises(SourceError, match="cannot connect"):
        await fetcher.get_json(f"http://{NAME}", "/a")
    await fetcher.aclose()


@asynccontextmanager
async def serving_tls(certificate: Certificate) -> AsyncIterator[int]:
    """A server with this certificate that answers 1; its port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate.certificate, certificate.key)

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(1)

    app = web.Application()
    app.router.add_get("/a", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


async def test_a_certificate_must_be_for_the_name_though_the_address_is_connected_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path / "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    certificate = authority.sign("tracker", host=f"DNS:{NAME}")
    async with (
        serving_tls(certificate) as port,
        public_only(NameServer(["127.0.0.1"]), public="127.0.0.1") as fetcher,
    ):
        assert await fetcher.get_json(f"https://{NAME}:{port}", "/a") == 1
        with pytest.raises(SourceError, match=r"other\.example\.com/a: cannot connect"):
            await fetcher.get_json(f"https://other.example.com:{port}", "/a")


@asynccontextmanager
async def a_proxy() -> AsyncIterator[tuple[str, list[str]]]:
    """A proxy of HTTP that answers by itself: its URL and what it was asked for."""
    asked = []

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readline()).decode().split()[1])
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\n7")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_a_proxy_looks_names_up_itself_and_what_goes_past_it_is_judged_here(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = NameServer(["127.0.0.1"])
    async with a_proxy() as (proxy, asked), serving({"/a": b"1"}) as server, public_only(names) as fetcher:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("no_proxy", "direct.example.com")
        assert await fetcher.get_json(at(server.url), "/a") == 7
        assert asked == [f"{at(server.url)}/a"]
        assert names.asked == []
        with pytest.raises(SourceError, match="not public"):
            await fetcher.get_json(at(server.url, "direct.example.com"), "/a")
        assert server.requests == []


# Bodies.


async def test_a_body_that_drips_is_given_up_in_time() -> None:
    async def drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b" ")
            await asyncio.sleep(0.02)

    fetcher = a_fetcher(ManualClock(), timeout=timedelta(seconds=0.3))
    async with serving({"/a": drip}) as server:
        with pytest.raises(SourceError, match=r"timed out after 0\.3 s"):
            await fetcher.get_json(server.url, "/a")
    await fetcher.aclose()


async def test_headers_that_drip_are_given_up_in_time() -> None:
    hung_up = asyncio.Event()

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        try:
            while True:
                writer.write(b"x-more: 1\r\n")
                await writer.drain()
                await asyncio.sleep(0.02)
        except ConnectionError:
            writer.close()
            hung_up.set()

    fetcher = a_fetcher(ManualClock(), timeout=timedelta(seconds=0.3))
    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(SourceError, match=r"timed out after 0\.3 s"):
            await fetcher.get_json(f"http://127.0.0.1:{port}", "/a")
        await fetcher.aclose()
        await hung_up.wait()


def packed(body: bytes, encoding: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Encoding": encoding})


async def test_a_decompression_bomb_is_given_up_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = gzip.compress(b"0" * 200 * 2**20)  # 200 kB
    fetcher = a_fetcher(ManualClock(), body_limit=1_000_000)
    import tracemalloc

    async with serving({"/a": lambda _: packed(bomb, "gzip")}) as server:
        tracemalloc.start()
        try:
            with pytest.raises(SourceError, match="larger than 1000000 bytes"):
                await fetcher.get_json(server.url, "/a")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8_000_000
    await fetcher.aclose()


@pytest.mark.parametrize("encoding", ["gzip, gzip", "deflate", "br", "zstd", "x-gzip"])
async def test_an_encoding_that_was_not_asked_for_is_refused(encoding: str) -> None:
    fetcher = a_fetcher(ManualClock())
    body = gzip.compress(gzip.compress(b"1"))
    async with serving({"/a": lambda _: packed(body, encoding)}) as server:
        with pytest.raises(SourceError, match="an encoding that was not asked for"):
            await fetcher.get_json(server.url, "/a")
    await fetcher.aclose()


async def test_gzip_is_asked_for_and_unpacked() -> None:
    def answer(request: web.Request) -> web.Response:
        return packed(gzip.compress(f'"{request.headers["Accept-Encoding"]}"'.encode()), "gzip")

    fetcher = a_fetcher(ManualClock())
    async with serving({"/a": answer, "/b": lambda _: packed(b"no gzip", "gzip")}) as server:
        assert await fetcher.get_json(server.url, "/a") == "gzip"
        with pytest.raises(SourceError, match="the reply is not gzip, as it says"):
            await fetcher.get_json(server.url, "/b")
    await fetcher.aclose()


async def test_a_redirect_within_the_host_is_judged_like_the_first_request() -> None:
    def elsewhere(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/b", "Connection": "close"})

    names = NameServer(["127.0.0.1"], ["127.0.0.2"])
    async with (
        serving({"/a": elsewhere, "/b": b"1"}) as server,
        public_only(names, public="127.0.0.1") as fetcher,
    ):
        with pytest.raises(SourceError, match="not public"):
            await fetcher.get_json(at(server.url), "/a")
        assert server.requests == ["/a"]
