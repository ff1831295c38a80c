"""The simulated network as a pure function of seed and time."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from services.kernel.errors import ConfigurationError
from services.simulator.addresses import bech32
from services.simulator.payments import Publication, emission_ngonka
from services.simulator.timeline import EPOCH_LENGTH, FIRST_EPOCH, poc_start
from services.simulator.world import World, WorldSettings

START = datetime(2026, 10, 9, 12, 0, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def make_world(started_at: datetime = START, **settings: Any) -> World:
    return World(WorldSettings(**settings), started_at)


def settlement_dates(world: World) -> Counter[date]:
    epochs = range(FIRST_EPOCH, world.timeline.last_past_epoch + 1)
    return Counter(world.timeline.settled_at(epoch).date() for epoch in epochs)


def restated_epoch(world: World) -> int:
    return next(epoch for epoch in range(FIRST_EPOCH, FIRST_EPOCH + 200) if world.epoch(epoch).restated)


def test_an_address_is_bech32_as_the_standard_has_it() -> None:
    assert bech32("a", b"") == "a12uel5l"
    assert bech32("abcdef", bytes.fromhex("00443214c74254b635cf84653a56d7c675be77df")) == (
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"
    )


def test_every_host_has_its_own_wallet_address_of_44_characters() -> None:
    addresses = {host.address for host in make_world().hosts}
    assert len(addresses) == 200
    assert {(address[:6], len(address)) for address in addresses} == {("gonka1", 44)}


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("time_of_day", [(0, 1), (12, 0), (23, 59)])
def test_ninety_days_have_a_date_with_two_settlements_and_one_with_none(
    seed: int, time_of_day: tuple[int, int]
) -> None:
    dates = settlement_dates(make_world(datetime(2026, 10, 9, *time_of_day, tzinfo=UTC), seed=seed))
    first, last = min(dates), max(dates)
    every_date = {first + timedelta(days=days) for days in range((last - first).days + 1)}
    assert 2 in dates.values()
    assert every_date - dates.keys()


def test_the_past_ends_yesterday_and_begins_ninety_days_ago() -> None:
    dates = settlement_dates(make_world())
    assert max(dates) == date(2026, 10, 8)
    assert min(dates) in {date(2026, 7, 11), date(2026, 7, 12)}


@pytest.mark.parametrize("days", [30, 90, 368])
def test_past_epochs_take_between_22_and_26_hours(days: int) -> None:
    world = make_world(days=days)
    settled = [world.timeline.settled_at(FIRST_EPOCH + i) for i in range(world.timeline.last_past_epoch - FIRST_EPOCH)]
    lengths = [(after - before) / timedelta(hours=1) for before, after in pairwise(settled)]
    assert 22.5 < min(lengths) < 23
    assert 25.5 < max(lengths) < 26.2


def test_the_running_epoch_bridges_to_the_first_live_settlement_and_the_next_ones_follow_at_the_live_pace() -> None:
    world = make_world()
    running = world.at(START).running_epoch
    assert running == world.timeline.last_past_epoch + 1
    settlements = [world.timeline.settled_at(running + i) - START for i in range(3)]
    assert settlements == [timedelta(seconds=60), timedelta(seconds=120), timedelta(seconds=180)]


def test_block_times_rise_and_the_height_at_a_block_time_is_that_block() -> None:
    timeline = make_world().timeline
    live = timeline.settlement_height(timeline.last_past_epoch + 3)
    heights = [*range(poc_start(FIRST_EPOCH) - 50_000, live - 300, 9_973), *range(live - 300, live + 300)]
    times = [timeline.block_time(height) for height in heights]
    assert all(before < after for before, after in pairwise(times))
    assert [timeline.height_at(time) for time in times] == heights
    assert [timeline.height_at(time - MICROSECOND) for time in times] == [height - 1 for height in heights]


def test_the_three_epoch_pointers_move_one_after_the_other() -> None:
    world = make_world()
    timeline = world.timeline
    epoch = timeline.last_past_epoch + 3

    def pointers(height: int) -> tuple[int, int, int]:
        moment = world.at(timeline.block_time(height))
        return moment.latest_epoch - epoch, moment.settled_epoch - epoch, moment.effective_epoch - epoch

    assert pointers(poc_start(epoch) - 1) == (-1, -2, -1)
    assert pointers(poc_start(epoch)) == (0, -2, -1)
    assert pointers(poc_start(epoch) + 279) == (0, -2, -1)
    assert pointers(poc_start(epoch) + 280) == (0, -1, -1)
    assert pointers(poc_start(epoch) + 399) == (0, -1, -1)
    assert pointers(poc_start(epoch) + 400) == (0, -1, 0)


def test_early_epochs_validate_for_185_blocks_and_later_ones_for_280() -> None:
    timeline = make_world().timeline
    assert timeline.settlement_height(FIRST_EPOCH) == poc_start(FIRST_EPOCH + 1) + 185
    assert timeline.settlement_height(timeline.last_past_epoch) == poc_start(timeline.last_past_epoch + 1) + 280
    assert poc_start(106) == 1642801
    assert poc_start(106) - poc_start(105) == EPOCH_LENGTH


def test_the_same_seed_and_start_give_the_same_world() -> None:
    first, second = make_world(hosts=40), make_world(hosts=40)
    assert first.hosts == second.hosts
    assert first.timeline == second.timeline
    assert first.epoch(300) == second.epoch(300)


def test_another_seed_gives_other_hosts_and_payments() -> None:
    first, second = make_world(hosts=40), make_world(hosts=40, seed=2)
    assert not {host.address for host in first.hosts} & {host.address for host in second.hosts}
    assert first.payments(300) != second.payments(300)


def test_an_epochs_facts_do_not_depend_on_what_was_asked_before() -> None:
    asked, fresh = make_world(hosts=40), make_world(hosts=40)
    for epoch in range(FIRST_EPOCH, 300):
        asked.epoch(epoch)
    assert asked.epoch(300) == fresh.epoch(300)


def test_rewards_are_the_emission_split_by_weight_and_excluded_hosts_get_nothing() -> None:
    facts = make_world().epoch(300)
    total = sum(member.weight for member in facts.members.values())
    for payment in facts.payments:
        member = facts.members.get(payment.address)
        if payment.reward_ngonka:
            assert member
            assert payment.reward_ngonka == emission_ngonka(300) * member.weight // total
        if member and member.excluded:
            assert payment.amount_ngonka == 0
    assert sum(payment.reward_ngonka for payment in facts.payments) < emission_ngonka(300)


def test_nine_paid_rows_in_ten_have_a_ninth_digit() -> None:
    world = make_world()
    amounts = [row.amount_ngonka for epoch in range(250, 280) for row in world.payments(epoch) if row.amount_ngonka]
    assert 0.85 < sum(amount % 10 > 0 for amount in amounts) / len(amounts) < 0.95


def test_the_past_has_every_kind_of_row_that_was_recorded() -> None:
    world = make_world()
    epochs = [world.epoch(epoch) for epoch in range(FIRST_EPOCH, world.timeline.last_past_epoch + 1)]
    unpaid = [sum(row.amount_ngonka == 0 for row in facts.payments) / len(facts.payments) for facts in epochs]
    rows = [(facts, row) for facts in epochs for row in facts.payments]
    assert any(share > 0.25 for share in unpaid)
    assert any(share < 0.12 for share in unpaid)
    assert any(row.work_ngonka and not row.reward_ngonka for _, row in rows)
    assert any(row.address not in facts.members for facts, row in rows)
    assert any(member.weight == 0 for facts in epochs for member in facts.members.values())


def test_hosts_come_and_go_and_some_are_listed_without_ever_being_active() -> None:
    world = make_world()
    last = world.timeline.last_past_epoch
    sets = [set(world.epoch(epoch).members) for epoch in range(last - 20, last + 1)]
    assert any(after - before for before, after in pairwise(sets))
    assert any(before - after for before, after in pairwise(sets))
    idle = {host.address for host in world.hosts if not host.may_work}
    assert len(idle) == 7
    assert not any(idle & active for active in sets)


def test_summaries_are_zero_for_500_blocks_after_the_settlement_and_then_true() -> None:
    world = make_world()
    epoch = next(n for n in range(world.at(START).running_epoch, 400) if not world.epoch(n).restated)
    settled = world.timeline.settled_at(epoch)
    published = world.timeline.block_time(world.timeline.settlement_height(epoch) + 500)
    assert world.publication(epoch, settled - MICROSECOND) is Publication.OPEN
    assert world.publication(epoch, settled) is Publication.ZEROS
    assert world.publication(epoch, published - MICROSECOND) is Publication.ZEROS
    assert world.publication(epoch, published) is Publication.FINAL
    assert {row.amount_ngonka for row in world.published(epoch, Publication.ZEROS)} == {0}


def test_a_restated_epoch_shows_wrong_amounts_until_it_is_corrected_before_the_next_settlement() -> None:
    world = make_world()
    epoch = restated_epoch(world)
    restated_at = world.restated_at(epoch)
    assert restated_at
    assert world.published_at(epoch) < restated_at < world.timeline.settled_at(epoch + 1)
    assert world.publication(epoch, restated_at - MICROSECOND) is Publication.FIRST
    assert world.publication(epoch, restated_at) is Publication.FINAL
    assert world.published(epoch, Publication.FIRST) != world.payments(epoch)
    assert world.published(epoch, Publication.FINAL) == world.payments(epoch)


def test_every_past_epoch_is_final_when_the_simulator_starts() -> None:
    world = make_world()
    epochs = range(FIRST_EPOCH, world.timeline.last_past_epoch + 1)
    assert {world.publication(epoch, START) for epoch in epochs} == {Publication.FINAL}


def test_counters_grow_within_an_epoch_and_start_again_at_its_settlement() -> None:
    world = make_world()
    epoch = world.at(START).running_epoch + 1
    settled = world.timeline.settled_at(epoch - 1)

    def inferences(seconds: float) -> int:
        stats = world.live_stats(world.at(settled + timedelta(seconds=seconds)))
        return sum(counters.work.inferences for counters in stats.values())

    assert inferences(0) == 0 < inferences(20) < inferences(40)
    assert inferences(60) == 0


def test_health_changes_within_minutes_and_a_jail_term_ends() -> None:
    world = make_world()
    times = [START + timedelta(minutes=minutes) for minutes in range(0, 240, 2)]
    samples = [[world.health(host, time) for host in world.hosts] for time in times]
    assert all(any(not health.healthy for health in sample) for sample in samples)
    assert len({tuple(health.healthy for health in sample) for sample in samples}) > 50
    jailed = [health for sample in samples for health in sample if health.jailed]
    assert {health.ready_to_unjail for health in jailed} == {True, False}
    assert not any(world.health(host, time).jailed for host in world.hosts if not host.validates for time in times)


def test_some_hosts_report_no_hardware_and_some_several_kinds() -> None:
    kinds = [
        {kind for node in host.ml_nodes for kind, _ in node.hardware} for host in make_world().hosts if host.may_work
    ]
    assert set() in kinds
    assert any(len(found) > 1 for found in kinds)


@pytest.mark.parametrize("wrong", [{"hosts": 0}, {"days": 1}, {"epoch_seconds": 0}, {"restated_share": 2}])
def test_impossible_settings_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        WorldSettings(**wrong)
