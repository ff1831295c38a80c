"""Captured payloads, through adapter, Kafka and the services' processes, become the rows that a person reads in them.

Every expected value was copied from the captured file, or computed from it by hand. Times of blocks and the node's
standing, which the captures lack, are those of tests/captured.py.
"""

from collections.abc import Iterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from services.ingest.clock import SystemClock
from services.ingest.sources import Source
from services.ingest.trackers.adapters import tracker_for
from services.ingest.trackers.base import SettlingTracker
from services.kernel.events import EARNINGS_TOPIC, READINGS_TOPIC
from tests.captured import (
    HARDWARE_HOSTS,
    INFERENCE,
    SUMMARY_HOST,
    Reply,
    december_node,
    hardware_node,
    october_node,
    payloads_folder,
    serving,
    tracker_replies,
)
from tests.integration.pipeline import Pipeline

pytestmark = pytest.mark.integration

QWEN_235B = "Qwen/Qwen3-235B-A22B-Instruct-2507-FP8"
QWEN_32B = "Qwen/Qwen3-32B-FP8"
QWEN_7B = "Qwen/Qwen2.5-7B-Instruct"
QWQ_32B = "Qwen/QwQ-32B"

# current_epoch_participants.json (weight, first model) and all_participants_height_887711.json (inference count).
OCTOBER_HOSTS = {
    "gonka14cu38xpsd8pz5zdkkzwf0jwtpc0vv309ake364": (37778, QWEN_235B, 1106),
    "gonka15p7s7w2hx0y8095lddd4ummm2y0kwpwljk00aq": (469, QWEN_7B, 0),
    "gonka17rfqamx8vr4zpd6z0jnulre4acht2lj7tq205e": (35713, QWEN_235B, 1047),
    "gonka19e5cl3ukk9yjmeza53eapnhwqqytelh77sq6gv": (3329, QWEN_7B, 0),
    "gonka19fpma3577v3fnk8nxjkvg442ss8hvglxwqgzz6": (12292, QWEN_235B, 375),
    "gonka1d7p03cu2y2yt3vytq9wlfm6tlz0lfhlgv9h82p": (12155, QWEN_235B, 343),
    "gonka1k5648w4l9c7ta4x2p0aaq6xuhyxchmrp3huf2g": (21051, QWEN_235B, 631),
    "gonka1ktl3kkn9l68c9amanu8u4868mcjmtsr5tgzmjk": (6540, QWQ_32B, 0),
    "gonka1llxvtg0657ldmqn4l3t0ag496ff355j5kawagy": (27565, QWEN_235B, 838),
    "gonka1p2lhgng7tcqju7emk989s5fpdr7k2c3ek6h26m": (12199, QWQ_32B, 3),
    "gonka1pu7kmkx300rj02z7tjffhkdtnas7cdcy8ce9hk": (40356, QWEN_7B, 0),
    "gonka1sqwpuxkspyp483l64knd5rp6qp56ymj4v6ca86": (43559, QWEN_235B, 1255),
    "gonka1vhprg9epy683xghp8ddtdlw2y9cycecmm64tje": (7344, QWQ_32B, 1),
    "gonka1x3a0f5cl0nl6u8djnzelzavs9u5cdm98fs4ezz": (12481, QWQ_32B, 2),
    "gonka1zq9440mp8dlja32asrseascgs4xwwrwdrrratw": (20880, QWEN_235B, 586),
    "gonka10etnufq85u67k075yuxq6h3rzwlcln5rffhlyx": (2758, QWEN_235B, 38),
    "gonka18lluv53n4h9z34qu20vxcvypgdkhsg6nn2cl2d": (178, QWEN_7B, 0),
    "gonka1dkl4mah5erqggvhqkpc8j3qs5tyuetgdy552cp": (513, QWEN_32B, 9),
    "gonka1gxnrg7jnq4364ml9d46w5et463gefl8pgev8qs": (312, QWQ_32B, 0),
    "gonka1kndph0kdhj7nyzswthsumuw0qpntjn7nu4q8mr": (3722, QWQ_32B, 1),
    "gonka1kx9mca3xm8u8ypzfuhmxey66u0ufxhs7nm6wc5": (537, QWEN_32B, 7),
    "gonka1nrs8xl640cqrl6luxs4kgasgeeyavl2xtlrflk": (560, QWQ_32B, 0),
    "gonka1qkzgcw4hkvsyuhtj09cmwuvzyg5ew5g7naq84m": (1114, QWQ_32B, 0),
    "gonka1x7zh2277spp7jfqjhv0g5mnezg290xdr4kpfnk": (3283, QWEN_235B, 38),
    "gonka1y2a9p56kv044327uycmqdexl7zs82fs5ryv5le": (521, QWEN_32B, 8),
    "gonka1zg0r3tru3z22mtu7gn74shssmyfjlghtckfatg": (542, QWEN_32B, 1),
}
OCTOBER = datetime(2025, 10, 19, 8, 44, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def services(pipeline: Pipeline) -> Iterator[None]:
    pipeline.start("cache")
    pipeline.start("earnings")
    yield
    pipeline.stop_all()


@pytest.fixture(autouse=True)
async def no_rows(pipeline: Pipeline) -> None:
    await pipeline.empty_tables()


@asynccontextmanager
async def adapter(kind: str, replies: Mapping[str, Reply]) -> Any:
    """The adapter of a source of this kind, which answers as captured; the source has the kind's name."""
    async with serving(replies) as server:
        source = Source.model_validate(
            {
                "name": kind,
                "kind": kind,
                "base_urls": [server.url],
                "poll_interval": 60,
                "requests_per_minute": 6000,
                "allow_private": True,
            }
        )
        tracker = tracker_for(source, SystemClock())
        try:
            yield tracker
        finally:
            await tracker.aclose()


async def poll_into(pipeline: Pipeline, kind: str, replies: Mapping[str, Reply]) -> None:
    """One poll, published, and applied by the cache service."""
    async with adapter(kind, replies) as tracker:
        poll = await tracker.poll()
    await pipeline.publish(poll.readings)
    await pipeline.drained(READINGS_TOPIC)


async def settle_into(pipeline: Pipeline, *epochs: int) -> None:
    """The epochs' settlements, published, and applied by the earnings service."""
    async with adapter("gonka_api", october_node(payloads_folder(), epoch_56_settled=True)) as tracker:
        assert isinstance(tracker, SettlingTracker)
        for epoch in epochs:
            settlement = await tracker.settled(epoch)
            assert settlement is not None
            await pipeline.publish(settlement.reports)
    await pipeline.drained(EARNINGS_TOPIC)


async def stats(pipeline: Pipeline) -> dict[str, tuple[Any, ...]]:
    """identifier → status, weight, model, jobs, source, time."""
    rows = await pipeline.rows(
        "SELECT identifier, status, voting_weight, active_model, jobs_day, source, fetched_at"
        " FROM node_stats_cache JOIN nodes ON id = node_id"
    )
    return {row[0]: row[1:] for row in rows}


async def test_hyperfusion_inference(pipeline: Pipeline) -> None:
    await poll_into(pipeline, "hyperfusion", tracker_replies(payloads_folder()))
    cached_at = datetime(2025, 12, 8, 13, 56, 38, 900851, tzinfo=UTC)
    assert await stats(pipeline) == {
        "gonka1qzmhx83xnamk0uqup3lxpf2te9karrwjm9cjh7": ("healthy", 3965, QWEN_235B, 6, "hyperfusion", cached_at),
        "gonka1qygkrhu964zy4r2t9fmlz8fe0q7s0nujw9hvu8": ("healthy", 521, QWEN_32B, 14, "hyperfusion", cached_at),
        "gonka1qy72uqasgd00un7qwexvfdl4zzy8ejaqj2zkqc": ("healthy", 1065, QWEN_32B, 35, "hyperfusion", cached_at),
    }


async def test_hyperfusion_inference_marks_the_slot_of_its_time_as_healthy(pipeline: Pipeline) -> None:
    await poll_into(pipeline, "hyperfusion", tracker_replies(payloads_folder()))
    # 13:56 is in the five minutes from 13:55: slot 13 * 12 + 11 = 167.
    assert await pipeline.rows(
        "SELECT date, get_bit(healthy, 167), bit_count(healthy), bit_count(seen), count(*) FROM node_uptime"
        " GROUP BY 1, 2, 3, 4"
    ) == [(date(2025, 12, 8), 1, 1, 1, 3)]


async def test_gonka_participants(pipeline: Pipeline) -> None:
    await poll_into(pipeline, "gonka_api", december_node(payloads_folder()))
    block_time = datetime(2025, 12, 8, 13, 56, 46, 512345, tzinfo=UTC)
    assert await stats(pipeline) == {
        "gonka10535msenynlc4ssvyegm7jjjv498f4dqzwgzl6": ("healthy", 2128, QWEN_7B, None, "gonka_api", block_time),
        "gonka109g8dnt43nj45xhg83jyjt5f2ywz336w36qzyl": ("healthy", 9512, QWEN_235B, None, "gonka_api", block_time),
        "gonka109xyam3aq9xt6tjgkgtwwahky7hfd84nl8tvup": ("healthy", 1034, QWEN_7B, None, "gonka_api", block_time),
    }


async def test_current_epoch_participants(pipeline: Pipeline) -> None:
    replies = october_node(payloads_folder())
    del replies[f"{INFERENCE}/participant"]
    await poll_into(pipeline, "gonka_api", replies)
    assert await stats(pipeline) == {
        host: ("healthy", weight, model, None, "gonka_api", OCTOBER)
        for host, (weight, model, _) in OCTOBER_HOSTS.items()
    }


async def test_all_participants(pipeline: Pipeline) -> None:
    await poll_into(pipeline, "gonka_api", october_node(payloads_folder()))
    rows = await stats(pipeline)
    assert {host: rows.pop(host) for host in OCTOBER_HOSTS} == {
        host: ("healthy", weight, model, jobs, "gonka_api", OCTOBER)
        for host, (weight, model, jobs) in OCTOBER_HOSTS.items()
    }
    # 193 are listed. The other 167, some of them ACTIVE and some RAMPING, are not in the epoch.
    assert len(rows) == 167
    assert set(rows.values()) == {("offline", None, None, 0, "gonka_api", OCTOBER)}
    assert "gonka1qqyc9gsld2666kpunherra8rx2efwg4v8wafg3" in rows
    assert "gonka1qr87yhkk79lyzvartvmauz3d0ezltdvtvujev8" in rows


async def test_hardware_nodes(pipeline: Pipeline) -> None:
    await poll_into(pipeline, "gonka_api", hardware_node(payloads_folder()))
    # Three times "NVIDIA GeForce RTX 3090 | 24GB"; the other host's twelve ML nodes declare no hardware.
    assert dict(await pipeline.rows("SELECT identifier, gpu_type FROM nodes")) == {
        HARDWARE_HOSTS[0]: "RTX 3090 24GB",
        HARDWARE_HOSTS[1]: None,
    }


SUMMARIES = [
    (51, 0, False, datetime(2025, 10, 14, 2, 16, 24, tzinfo=UTC), "0.00000000"),
    (52, 0, False, datetime(2025, 10, 15, 3, 56, 24, tzinfo=UTC), "0.00000000"),
    (53, 48552031736571, True, datetime(2025, 10, 16, 5, 36, 24, tzinfo=UTC), "48552.03173657"),
    (54, 50842445416245, True, datetime(2025, 10, 17, 7, 16, 24, tzinfo=UTC), "50842.44541625"),
    (55, 0, False, datetime(2025, 10, 18, 8, 56, 24, tzinfo=UTC), "0.00000000"),
    (56, 38627452617213, True, datetime(2025, 10, 19, 10, 36, 24, tzinfo=UTC), "38627.45261721"),
]


@pytest.mark.parametrize(("epoch", "ngonka", "claimed", "settled_at", "gnk"), SUMMARIES)
async def test_epoch_performance_summary(
    pipeline: Pipeline, *, epoch: int, ngonka: int, claimed: bool, settled_at: datetime, gnk: str
) -> None:
    await settle_into(pipeline, epoch)
    assert await pipeline.rows(
        "SELECT identifier, source, kind, period, amount_ngonka, work_ngonka, reward_ngonka, final, claimed"
        " FROM earnings_ledger JOIN nodes ON id = node_id"
    ) == [(SUMMARY_HOST, "gonka_api", "epoch", epoch, ngonka, 0, ngonka, True, claimed)]
    assert await pipeline.rows("SELECT epoch, settled_at, exact FROM epoch_settlement") == [(epoch, settled_at, True)]
    assert await pipeline.rows("SELECT date, earnings_gnk, source FROM earnings_history") == [
        (settled_at.date(), Decimal(gnk), "gonka_api")
    ]


async def test_epoch_performance_summaries_51_to_56_together(pipeline: Pipeline) -> None:
    await settle_into(pipeline, *range(51, 57))
    assert await pipeline.rows("SELECT date, earnings_gnk FROM earnings_history ORDER BY date") == [
        (settled_at.date(), Decimal(gnk)) for _, _, _, settled_at, gnk in SUMMARIES
    ]
    # The newest date's amount; 138,021,929,770,029 ngonka in all, rounded once.
    assert await pipeline.rows("SELECT earnings_day, earnings_total, fetched_at FROM node_stats_cache") == [
        (Decimal("38627.45261721"), Decimal("138021.92977003"), None)
    ]
