"""Captured replies through their adapters. What is expected was read from the files by hand."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from services.ingest.trackers.base import Poll, Settlement
from services.ingest.trackers.gonka_api import GonkaApi
from services.ingest.trackers.hyperfusion import Hyperfusion
from tests.captured import (
    HARDWARE_HOSTS,
    SUMMARY_HOST,
    Reply,
    december_node,
    hardware_node,
    october_node,
    payloads_folder,
    serving,
    tracker_replies,
)
from tests.unit.ingest_fakes import ManualClock, a_fetcher, a_source

QWEN_235B = "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8"


async def polled(replies: dict[str, Reply]) -> Poll:
    async with node(replies) as tracker:
        return await tracker.poll()


@asynccontextmanager
async def node(replies: dict[str, Reply]) -> AsyncIterator[GonkaApi]:
    clock = ManualClock()
    async with serving(replies) as server:
        tracker = GonkaApi(a_source(server.url), a_fetcher(clock), clock)
        try:
            yield tracker
        finally:
            await tracker.aclose()


async def test_hyperfusion_inference() -> None:
    clock = ManualClock()
    async with serving(tracker_replies(payloads_folder())) as server:
        tracker = Hyperfusion(a_source(server.url, kind="hyperfusion"), a_fetcher(clock), clock)
        poll = await tracker.poll()
        await tracker.aclose()
    assert [
        (r.identifier, r.status, r.voting_weight, r.active_model, r.jobs_day, r.display_name) for r in poll.readings
    ] == [
        ("gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7", "healthy", Decimal(3965), QWEN_235B, 6, None),
        ("gonka1qygkrhu964zy4r2t9fmlz8fe0q7s0nujw9hvu8", "healthy", Decimal(521), "Qwen/Qwen3-32B-FP8", 14, None),
        ("gonka1qy72uqasgd00un7qwexvfdl4zzy8ejaqj2zkqc", "healthy", Decimal(1065), "Qwen/Qwen3-32B-FP8", 35, None),
    ]
    assert {(r.observed_at, r.epoch, r.height) for r in poll.readings} == {
        (datetime(2025, 12, 8, 13, 56, 38, 900851, tzinfo=UTC), 105, 1634323)
    }
    assert poll.skipped == ()


async def test_gonka_participants_and_epochs_latest() -> None:
    poll = await polled(december_node(payloads_folder()))
    assert [(r.identifier, r.status, r.voting_weight, r.active_model, r.jobs_day) for r in poll.readings] == [
        ("gonka10535msenynlc4ssvyegm7jjjv498f4dqzwgzl6", "healthy", Decimal(2128), "Qwen/Qwen2.5-7B-Instruct", None),
        ("gonka109g8dnt43nj45xhg83jyjt5f2ywz336w36qzyl", "healthy", Decimal(9512), QWEN_235B, None),
        ("gonka109xyam3aq9xt6tjgkgtwwahky7hfd84nl8tvup", "healthy", Decimal(1034), "Qwen/Qwen2.5-7B-Instruct", None),
    ]
    assert {(r.observed_at, r.epoch, r.height) for r in poll.readings} == {
        (datetime(2025, 12, 8, 13, 56, 46, 512345, tzinfo=UTC), 105, 1634326)
    }
    assert poll.newest_settled == 104  # 1634326 is past poc_validation_end 1627595 of epoch 105


ACTIVE_IN_OCTOBER = {
    # address: (weight, first model, inference_count)
    "gonka14cu38xpsd8pz5zdkkzwf0jwtpc0vv309ake364": (37778, QWEN_235B, 1106),
    "gonka15p7s7w2hx0y8095lddd4ummm2y0kwpwljk00aq": (469, "Qwen/Qwen2.5-7B-Instruct", 0),
    "gonka17rfqamx8vr4zpd6z0jnulre4acht2lj7tq205e": (35713, QWEN_235B, 1047),
    "gonka19e5cl3ukk9yjmeza53eapnhwqqytelh77sq6gv": (3329, "Qwen/Qwen2.5-7B-Instruct", 0),
    "gonka19fpma3577v3fnk8nxjkvg442ss8hvglxwqgzz6": (12292, QWEN_235B, 375),
    "gonka1d7p03cu2y2yt3vytq9wlfm6tlz0lfhlgv9h82p": (12155, QWEN_235B, 343),
    "gonka1k5648w4l9c7ta4x2p0aaq6xuhyxchmrp3huf2g": (21051, QWEN_235B, 631),
    "gonka1ktl3kkn9l68c9amanu8u4868mcjmtsr5tgzmjk": (6540, "Qwen/QwQ-32B", 0),
    "gonka1llxvtg0657ldmqn4l3t0ag496ff355j5kawagy": (27565, QWEN_235B, 838),
    "gonka1p2lhgng7tcqju7emk989s5fpdr7k2c3ek6h26m": (12199, "Qwen/QwQ-32B", 3),
    "gonka1pu7kmkx300rj02z7tjffhkdtnas7cdcy8ce9hk": (40356, "Qwen/Qwen2.5-7B-Instruct", 0),
    "gonka1sqwpuxkspyp483l64knd5rp6qp56ymj4v6ca86": (43559, QWEN_235B, 1255),
    "gonka1vhprg9epy683xghp8ddtdlw2y9cycecmm64tje": (7344, "Qwen/QwQ-32B", 1),
    "gonka1x3a0f5cl0nl6u8djnzelzavs9u5cdm98fs4ezz": (12481, "Qwen/QwQ-32B", 2),
    "gonka1zq9440mp8dlja32asrseascgs4xwwrwdrrratw": (20880, QWEN_235B, 586),
    "gonka10etnufq85u67k075yuxq6h3rzwlcln5rffhlyx": (2758, QWEN_235B, 38),
    "gonka18lluv53n4h9z34qu20vxcvypgdkhsg6nn2cl2d": (178, "Qwen/Qwen2.5-7B-Instruct", 0),
    "gonka1dkl4mah5erqggvhqkpc8j3qs5tyuetgdy552cp": (513, "Qwen/Qwen3-32B-FP8", 9),
    "gonka1gxnrg7jnq4364ml9d46w5et463gefl8pgev8qs": (312, "Qwen/QwQ-32B", 0),
    "gonka1kndph0kdhj7nyzswthsumuw0qpntjn7nu4q8mr": (3722, "Qwen/QwQ-32B", 1),
    "gonka1kx9mca3xm8u8ypzfuhmxey66u0ufxhs7nm6wc5": (537, "Qwen/Qwen3-32B-FP8", 7),
    "gonka1nrs8xl640cqrl6luxs4kgasgeeyavl2xtlrflk": (560, "Qwen/QwQ-32B", 0),
    "gonka1qkzgcw4hkvsyuhtj09cmwuvzyg5ew5g7naq84m": (1114, "Qwen/QwQ-32B", 0),
    "gonka1x7zh2277spp7jfqjhv0g5mnezg290xdr4kpfnk": (3283, QWEN_235B, 38),
    "gonka1y2a9p56kv044327uycmqdexl7zs82fs5ryv5le": (521, "Qwen/Qwen3-32B-FP8", 8),
    "gonka1zg0r3tru3z22mtu7gn74shssmyfjlghtckfatg": (542, "Qwen/Qwen3-32B-FP8", 1),
}


async def test_current_epoch_participants() -> None:
    poll = await polled(october_node(payloads_folder()))
    members = {r.identifier: r for r in poll.readings if r.status != "offline"}
    assert {address: (r.voting_weight, r.active_model, r.jobs_day, r.status) for address, r in members.items()} == {
        address: (Decimal(weight), model, jobs, "healthy")
        for address, (weight, model, jobs) in ACTIVE_IN_OCTOBER.items()
    }
    assert {(r.epoch, r.height, r.observed_at) for r in poll.readings} == {
        (56, 887711, datetime(2025, 10, 19, 8, 44, tzinfo=UTC))
    }


async def test_all_participants() -> None:
    poll = await polled(october_node(payloads_folder()))
    assert Counter(reading.status for reading in poll.readings) == {"healthy": 26, "offline": 167}
    offline = {r.identifier: r for r in poll.readings if r.status == "offline"}
    first = offline["gonka1qqyc9gsld2666kpunherra8rx2efwg4v8wafg3"]
    assert (first.voting_weight, first.active_model, first.jobs_day, first.epoch) == (None, None, 0, 56)
    assert (poll.complete, poll.skipped, poll.newest_settled) == (True, (), 55)


@pytest.mark.parametrize(("address", "gpu"), [(HARDWARE_HOSTS[0], "RTX 3090 24GB"), (HARDWARE_HOSTS[1], None)])
async def test_hardware_nodes(address: str, gpu: str | None) -> None:
    poll = await polled(hardware_node(payloads_folder()))
    assert {reading.identifier: reading.gpu_type for reading in poll.readings}[address] == gpu


@pytest.mark.parametrize(
    ("epoch", "amount_ngonka", "claimed", "settled_at"),
    [
        (51, 0, False, datetime(2025, 10, 14, 2, 16, 24, tzinfo=UTC)),
        (52, 0, False, datetime(2025, 10, 15, 3, 56, 24, tzinfo=UTC)),
        (53, 48552031736571, True, datetime(2025, 10, 16, 5, 36, 24, tzinfo=UTC)),
        (54, 50842445416245, True, datetime(2025, 10, 17, 7, 16, 24, tzinfo=UTC)),
        (55, 0, False, datetime(2025, 10, 18, 8, 56, 24, tzinfo=UTC)),
        (56, 38627452617213, True, datetime(2025, 10, 19, 10, 36, 24, tzinfo=UTC)),
    ],
)
async def test_epoch_performance_summary(epoch: int, amount_ngonka: int, claimed: bool, settled_at: datetime) -> None:
    async with node(october_node(payloads_folder(), epoch_56_settled=True)) as tracker:
        settlement = await tracker.settled(epoch)
    assert isinstance(settlement, Settlement)
    assert settlement.complete
    (report,) = settlement.reports
    assert (report.identifier, report.kind, report.period) == (SUMMARY_HOST, "epoch", epoch)
    assert (report.amount_ngonka, report.work_ngonka, report.reward_ngonka) == (amount_ngonka, 0, amount_ngonka)
    assert (report.claimed, report.final) == (claimed, True)
    assert (report.settled_at, report.settled_exact) == (settled_at, True)
    assert report.observed_at == datetime(2025, 10, 19, 14, 25, tzinfo=UTC)
