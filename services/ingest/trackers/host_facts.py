"""What a node tells about hosts besides their participation: jailed validators and hardware. Asked every ten minutes.

Neither is needed for a poll: a failure leaves the facts as they were, or out.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from services.ingest.clock import Clock
from services.ingest.http import NotFoundError
from services.ingest.trackers import chain_payloads as payloads
from services.ingest.trackers.chain_client import INFERENCE, Chain
from services.ingest.trackers.hardware import HardwareNodes, gpu_type
from services.ingest.trackers.wire import Payload, each, read, rows, wallet
from services.kernel.errors import SourceError

VALIDATORS = "/chain-api/cosmos/staking/v1beta1/validators"
_INTERVAL_SECONDS = 600.0
_RETRY_SECONDS = 120.0
_JAILED_MAX_AGE_SECONDS = 1800.0


class _OneHost(Payload):
    nodes: HardwareNodes


class HostFacts:
    """The jailed keys and GPU types that one source knows, refreshed during its polls."""

    def __init__(self, chain: Chain, clock: Clock, hosts_per_poll: int) -> None:
        self._chain = chain
        self._clock = clock
        self._hosts_per_poll = hosts_per_poll
        self._jailed: frozenset[str] = frozenset()
        self._jailed_at = self._jailed_due = self._hardware_due = clock.monotonic()
        self._one_by_one: deque[str] = deque()

    async def jailed(self, url: str) -> frozenset[str]:
        """The consensus keys of jailed validators, as far as they are known."""
        now = self._clock.monotonic()
        if now >= self._jailed_due:
            self._jailed_due = now + _RETRY_SECONDS
            try:
                listed = await self._chain.listed(url, VALIDATORS, "validators", 1000)
                self._jailed = payloads.jailed_keys(rows(listed.items, "validators"))
                self._jailed_at, self._jailed_due = now, now + _INTERVAL_SECONDS
            except SourceError:
                pass
        return self._jailed if now - self._jailed_at <= _JAILED_MAX_AGE_SECONDS else frozenset()

    async def gpu_types(self, url: str, members: Iterable[str]) -> dict[str, str]:
        """The GPU types read just now, of these hosts only: the list of all keeps everybody who ever was one.

        Where that list is absent, some hosts are asked for one by one in each poll, within the budget.
        """
        wanted = set(members)
        now = self._clock.monotonic()
        found: dict[str, str | None] = {}
        if self._one_by_one:
            found = await self._ask_hosts(url)
        elif now >= self._hardware_due:
            self._hardware_due = now + _INTERVAL_SECONDS
            try:
                found = await self._ask_all(url)
            except NotFoundError:
                self._one_by_one.extend(sorted(wanted))
                found = await self._ask_hosts(url)
            except SourceError:
                self._hardware_due = now + _RETRY_SECONDS
        return {address: gpu for address, gpu in found.items() if gpu and address in wanted}

    async def _ask_all(self, url: str) -> dict[str, str | None]:
        listed = await self._chain.listed(url, f"{INFERENCE}/hardware_nodes_all", "nodes", 10_000)
        hosts, _ = each(listed.items, HardwareNodes.model_validate)
        return {address: gpu_type(host) for host in hosts if (address := wallet(host.participant))}

    async def _ask_hosts(self, url: str) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for _ in range(min(self._hosts_per_poll, len(self._one_by_one))):
            address = self._one_by_one.popleft()
            try:
                body: Any = await self._chain.get(url, f"{INFERENCE}/hardware_nodes/{address}")
                host = read(_OneHost, body, "hardware_nodes").nodes
            except NotFoundError:
                continue
            except SourceError:
                break
            if host.participant in (None, address):
                found[address] = gpu_type(host)
        return found
