"""Connections to the internet only: a tracker's URL must not lead into the network that this process stands in."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final
from urllib.request import getproxies, proxy_bypass

import httpx

from services.kernel.errors import SourceError

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The addresses of a host's port, best first. Raises OSError."""

_NUMBER_LIKE: Final = re.compile(r"\d+|0[xX][0-9a-fA-F]*")
_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
_UNICAST: Final = IPv6Network("2000::/3")
_NAT64: Final = IPv6Network("64:ff9b::/96")


def is_public(host: str) -> bool:
    """Whether a URL's host may be on the internet: no loopback or private address, no name without a dot."""
    host = host.rstrip(".").lower()
    try:
        address = ip_address(host)
    except ValueError:
        # "127.1" and "0x7f.1" are addresses for a resolver, though not for ipaddress.
        return "." in host and not host.endswith(_LOCAL_SUFFIXES) and not _NUMBER_LIKE.fullmatch(host.split(".")[-1])
    if isinstance(address, IPv6Address):
        if inner := address.ipv4_mapped or address.sixtofour:
            return _is_public_v4(inner)
        if address in _NAT64:
            return _is_public_v4(IPv4Address(int(address) & 0xFFFFFFFF))
        return address in _UNICAST and address.is_global
    return _is_public_v4(address)


def _is_public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast


def proxy_for(url: httpx.URL) -> str | None:
    """The proxy that HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY name for this URL."""
    proxies = getproxies()
    proxy = proxies.get(url.scheme, proxies.get("all"))
    return None if proxy is None or proxy_bypass(url.host) else proxy


async def resolve(host: str, port: int) -> list[str]:
    """Ask the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class PublicTransport(httpx.AsyncBaseTransport):
    """Looks a host's addresses up, refuses it when one is not public, and connects to those it has looked at.

    Nothing looks the name up once more in between, so that a name server gains nothing by answering otherwise then.
    """

    def __init__(self, *, resolve: Resolve = resolve, accepts: Callable[[str], bool] = is_public) -> None:
        self._resolve = resolve
        self._accepts = accepts
        self._tls = httpx.create_ssl_context()
        # One for each name: connections are kept by address, and one that was opened for a name is not for another.
        self._transports: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request. Raises SourceError where the host is not public, httpx's errors where it fails."""
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            addresses = await self._resolve(host, port)
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from None
        if not all(map(self._accepts, addresses)):
            raise SourceError(
                f"{host}: its name leads to an address that is not public; if it may, set allow_private = true"
            )
        transport = self._transports.setdefault(host, httpx.AsyncHTTPTransport(verify=self._tls))
        failure: httpx.TransportError = httpx.ConnectError("no address", request=request)
        for address in addresses:
            try:
                return await transport.handle_async_request(_to(address, host, request))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
        raise failure

    async def aclose(self) -> None:
        """Close every connection."""
        for transport in self._transports.values():
            await transport.aclose()


def _to(address: str, host: str, request: httpx.Request) -> httpx.Request:
    """The same request, to be sent to this address; its Host header and its certificate are those of the name."""
    return httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": host},
    )
