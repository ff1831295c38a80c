"""What hosts of the running epoch would be paid if it settled as it stands: provisional, and never history.

The chain estimates one host at a time (chain: query_estimate_bitcoin_reward.go EstimateBitcoinReward), so some hosts
are asked for in each poll, by turns. Since v0.2.14 a share of the pot by weight no longer predicts the reward.
"""

from collections import deque
from collections.abc import Iterable

from services.ingest.http import NotFoundError
from services.ingest.trackers.chain_client import INFERENCE, Chain
from services.ingest.trackers.chain_payloads import Standing
from services.ingest.trackers.wire import Payload, Whole, read
from services.kernel.errors import InvalidRecordError, SourceError
from services.kernel.events import EarningsReport

METHOD = "work coins so far + estimate_bitcoin_reward"


class _SettleAmount(Payload):
    epoch_index: Whole = None
    work_coins: Whole = None
    reward_coins: Whole = None


class _Reply(Payload):
    settle_amount: _SettleAmount


class Estimates:
    """The estimates that one source gives, some hosts a poll. A failure leaves the rest for the next poll."""

    def __init__(self, chain: Chain, hosts_per_poll: int) -> None:
        self._chain = chain
        self._hosts_per_poll = hosts_per_poll
        self._waiting: deque[str] = deque()

    async def some(
        self, url: str, epoch: int | None, members: Iterable[str], at: Standing
    ) -> tuple[EarningsReport, ...]:
        """Reports, not final, of the next hosts of the running epoch."""
        wanted = sorted(members)
        if epoch is None or not wanted:
            return ()
        if not self._waiting:
            self._waiting.extend(wanted)
        found: list[EarningsReport] = []
        for _ in range(min(self._hosts_per_poll, len(self._waiting))):
            address = self._waiting.popleft()
            try:
                body = await self._chain.get(url, f"{INFERENCE}/estimate_bitcoin_reward/{address}")
                report = self._report(address, epoch, read(_Reply, body, "settle_amount").settle_amount, at)
            except NotFoundError:  # not in the active set any more, or a node of an older version
                continue
            except (SourceError, InvalidRecordError):
                break
            if report is not None:
                found.append(report)
        return tuple(found)

    def _report(self, address: str, epoch: int, amount: _SettleAmount, at: Standing) -> EarningsReport | None:
        work, reward = amount.work_coins, amount.reward_coins
        if amount.epoch_index != epoch or work is None or reward is None or work < 0 or reward < 0:
            return None  # another epoch's, just around a boundary, or unknown: never zero
        return EarningsReport(
            identifier=address,
            identifier_type="wallet",
            source=self._chain.source,
            kind="epoch",
            period=epoch,
            amount_ngonka=work + reward,
            work_ngonka=work,
            reward_ngonka=reward,
            method=METHOD,
            final=False,
            observed_at=at.time,
        )
