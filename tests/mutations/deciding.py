"""Mutations of what decides without Kafka or PostgreSQL: reductions, money, and what ingest believes and publishes."""

from tests.mutations.mutation import Mutation

_MERGE = "tests/unit/test_cache_merge.py::"
_LEDGER = "tests/unit/test_earnings_ledger.py::"
_POLLING = "tests/unit/test_ingest_polling.py::"
_CHAIN = "tests/unit/test_tracker_gonka_api.py::"

DECIDING = (
    Mutation(
        name="readings-by-arrival-in-memory",
        guarantee="Of a batch's readings of a node and source the newest wins, not the last that came.",
        file="services/cache/merge.py",
        old="max(with_status, key=_OBSERVED_AT)",
        new="with_status[-1]",
        test=_MERGE + "test_the_newest_reading_of_each_node_and_source_stays",
    ),
    Mutation(
        name="second-of-an-identity-wins",
        guarantee="Of two readings with one identity the first stays.",
        file="services/cache/merge.py",
        old="max(with_status, key=_OBSERVED_AT)",
        new="max(reversed(with_status), key=_OBSERVED_AT)",
        test=_MERGE + "test_of_two_readings_with_one_identity_the_first_stays",
    ),
    Mutation(
        name="facts-by-arrival-in-memory",
        guarantee="Of a batch's facts of a field the newest wins, whoever says it.",
        file="services/cache/merge.py",
        old="if held is None or fact.rank > held.rank:",
        new="if held is None or fact is not held:",
        test="tests/integration/test_merge_guarantees.py::test_many_readings_of_a_node_are_one_row_of_one_merge",
    ),
    Mutation(
        name="uptime-without-a-probe",
        guarantee="Only readings that rest on a probe of the node's health count for uptime.",
        file="services/cache/merge.py",
        old="if probed := [reading for reading in with_status if reading.health_probed]:",
        new="if probed := with_status:",
        test=_MERGE + "test_only_readings_that_rest_on_a_probe_count_for_uptime",
    ),
    Mutation(
        name="uptime-of-one-without-a-probe",
        guarantee="The only reading of a node in a batch counts for uptime on the same condition.",
        file="services/cache/merge.py",
        old="if group.health_probed:",
        new="if group.status:",
        test=_MERGE + "test_only_readings_that_rest_on_a_probe_count_for_uptime",
    ),
    Mutation(
        name="reports-by-arrival-in-memory",
        guarantee="Of a batch's reports of one ledger row the greatest rank wins, not the last that came.",
        file="services/earnings/ledger.py",
        old="else max(group, key=rank)  # of equals the first",
        new="else group[-1]",
        test=_LEDGER + "test_a_restatement_replaces_and_the_version_before_is_kept",
    ),
    Mutation(
        name="estimate-outranks-final",
        guarantee="A final report outranks any later estimate.",
        file="services/earnings/ledger.py",
        old="        said.final,\n        report.observed_at,\n",
        new="        report.observed_at,\n        said.final,\n",
        test=_LEDGER + "test_a_final_report_outranks_any_later_estimate",
    ),
    Mutation(
        name="interpolated-outranks-exact",
        guarantee="An exact time of settlement outranks a later interpolated one.",
        file="services/earnings/ledger.py",
        old="if known is None or proposal > known[0]:",
        new="if known is None or proposal.observed_at > known[0].observed_at:",
        test=_LEDGER + "test_an_exact_settlement_outranks_a_later_interpolated_one[False]",
    ),
    Mutation(
        name="sources-added-up",
        guarantee="Of several sources that report one epoch one counts.",
        file="services/earnings/ledger.py",
        old=" and fact.period not in won:",
        new=":",
        test=_LEDGER + "test_one_source_wins_per_epoch_by_the_order_of_sources",
    ),
    Mutation(
        name="reset-counter-is-a-loss",
        guarantee="A lifetime counter that was reset counts from zero again: nobody loses what was earned.",
        file="services/earnings/ledger.py",
        old="after.amount - before.amount if after.amount >= before.amount else after.amount",
        new="after.amount - before.amount",
        test=_LEDGER + "test_a_lifetime_counter_that_was_reset_counts_from_zero_again",
    ),
    Mutation(
        name="counters-of-different-sources-subtracted",
        guarantee="Counters of different sources are never subtracted from each other.",
        file="services/earnings/ledger.py",
        old="_differences([fact for fact in own if fact.source == own[0].source])",
        new="_differences(sorted(own, key=lambda fact: fact.period))",
        test=_LEDGER + "test_counters_of_two_sources_are_never_subtracted_from_each_other",
    ),
    Mutation(
        name="half-even-in-python",
        guarantee="Python rounds GNK as PostgreSQL does, half away from zero.",
        file="services/kernel/money.py",
        old="Context(prec=60, rounding=ROUND_HALF_UP)",
        new='Context(prec=60, rounding="ROUND_HALF_EVEN")',
        test="tests/unit/test_money.py::test_ngonka_become_gnk_half_away_from_zero[5-0.00000001]",
    ),
    Mutation(
        name="letter-without-its-headers",
        guarantee="A dead letter carries its record untouched.",
        file="services/kernel/dead_letters.py",
        old="headers = [*record.headers, *(",
        new="headers = [*(",
        test="tests/unit/test_dead_letters.py::test_a_letter_carries_the_record_untouched_and_where_it_came_from",
    ),
    Mutation(
        name="tie-by-the-lesser-name",
        guarantee="Ties between sources go to the greater name, in memory as in PostgreSQL.",
        file="services/cache/merge.py",
        old="return (self.source == OPERATOR_SOURCE, self.observed_at, self.source)",
        new="return (self.source == OPERATOR_SOURCE, self.observed_at, [-ord(each) for each in self.source])",
        test=_MERGE + "test_ties_between_sources_go_to_the_greater_name",
    ),
    Mutation(
        name="published-before-it-was-delivered",
        guarantee="Data counts as published only after Kafka confirmed it.",
        file="services/ingest/polling.py",
        old="                await self._publish([*readings, *poll.estimates])\n",
        new="                self._published_data_at = poll.data_at\n"
        "                await self._publish([*readings, *poll.estimates])\n",
        test=_POLLING + "test_what_was_not_acknowledged_is_published_again",
    ),
    Mutation(
        name="readings-before-preferences",
        guarantee="A source's preferences are published before its first reading.",
        file="services/ingest/polling.py",
        old="        await self._announce()\n        while True:\n",
        new="        while True:\n",
        test=_POLLING + "test_the_source_is_announced_before_its_first_poll",
    ),
    Mutation(
        name="node-behind-believed",
        guarantee="A chain node below the highest height seen is not believed.",
        file="services/ingest/trackers/chain_client.py",
        old="if found.height < self._highest:",
        new="if found.height < 0:",
        test=_CHAIN + "test_a_node_below_the_highest_height_ever_seen_is_never_believed",
        fails_with="Failed",
    ),
)
