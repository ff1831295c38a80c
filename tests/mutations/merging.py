"""Mutations of the merges: the same rows in any order, however often, whoever writes at the same time."""

from tests.mutations.mutation import Mutation

_CACHE = "services/cache/store.py"
_EARNINGS = "services/earnings/store.py"
_PROJECTION = "services/earnings/projection.py"
_TESTS = "tests/integration/test_merge_guarantees.py::"
_INTERLEAVING = "tests/integration/test_pipeline_interleaving.py::"

_EACH = 'type("Each", (str,), {"__eq__": object.__eq__, "__hash__": object.__hash__})'
"""A text that equals no other: a key of it reduces nothing."""

MERGING = (
    Mutation(
        name="facts-not-reduced",
        guarantee="A batch is reduced before it is written: one statement cannot merge two rows into one.",
        file="services/cache/merge.py",
        old="facts[reading.identifier, name] = fact",
        new=f"facts[reading.identifier, {_EACH}(name)] = fact",
        test=_TESTS + "test_many_readings_of_a_node_are_one_row_of_one_merge",
        fails_with="CardinalityViolationError",  # ON CONFLICT DO UPDATE command cannot affect row a second time
    ),
    Mutation(
        name="sources-not-reduced",
        guarantee="Of the readings of several sources in a batch one is written.",
        file=_CACHE,
        old="SELECT DISTINCT ON (node_id) node_id, source, fetched_at,",
        new="SELECT node_id, source, fetched_at,",
        test=_TESTS + "test_many_readings_of_a_node_are_one_row_of_one_merge",
        fails_with="CardinalityViolationError",
    ),
    Mutation(
        name="reports-not-reduced",
        guarantee="Of the reports of one ledger row in a batch one is written.",
        file="services/earnings/ledger.py",
        old="reduced.winners[key] = report",
        new=f"reduced.winners[key._replace(source={_EACH}(key.source))] = report",
        test=_TESTS + "test_many_reports_of_a_period_are_one_row_of_one_merge",
        fails_with="CardinalityViolationError",
    ),
    Mutation(
        name="stats-by-arrival-under-the-lock",
        guarantee="A newer reading that commits in between is not overwritten by an older one.",
        file=_CACHE,
        old="WHERE held.fetched_at IS NULL\n        OR (",
        new="WHERE true\n        OR (",
        test=_TESTS + "test_a_newer_reading_that_commits_in_between_is_not_overwritten_by_an_older_one",
    ),
    Mutation(
        name="facts-by-arrival-under-the-lock",
        guarantee="A newer fact that commits in between is not overwritten by an older one.",
        file=_CACHE,
        old="WHERE (EXCLUDED.source = 'operator', EXCLUDED.observed_at,",
        new="WHERE true OR (EXCLUDED.source = 'operator', EXCLUDED.observed_at,",
        test=_TESTS + "test_a_newer_fact_that_commits_in_between_is_not_overwritten_by_an_older_one",
    ),
    Mutation(
        name="reading-ranked-by-arrival",
        guarantee="A reading's rank is the time of what it saw, not the time at which it came.",
        file=_CACHE,
        old="[reading.observed_at for reading in newest],",
        new='[__import__("datetime").datetime.now(reading.observed_at.tzinfo) for reading in newest],',
        test=_TESTS + "test_a_reading_that_arrives_late_replaces_nothing",
    ),
    Mutation(
        name="statuses-by-arrival",
        guarantee="An older status does not bring a source's old preference back.",
        file=_CACHE,
        old="WHERE held.reported_at IS NULL OR EXCLUDED.reported_at > held.reported_at",
        new="WHERE true",
        test=_TESTS + "test_an_older_status_does_not_bring_a_sources_old_preference_back",
    ),
    Mutation(
        name="totals-by-arrival",
        guarantee="An older total of a source does not replace what it said last.",
        file=_CACHE,
        old="WHERE (EXCLUDED.reported_at, EXCLUDED.total_ngonka) > (held.reported_at, held.total_ngonka)",
        new="WHERE true",
        test=_TESTS + "test_of_a_sources_totals_of_an_epoch_the_last_told_stays_in_any_order",
    ),
    Mutation(
        name="final-projects-nothing",
        guarantee="A report projects when its amount or its being final is new, not only when the amount is.",
        file=_EARNINGS,
        old="(new.amount_ngonka, new.final) IS DISTINCT FROM (known.amount_ngonka, known.final) AS other",
        new="new.amount_ngonka IS DISTINCT FROM known.amount_ngonka AS other",
        test=_TESTS + "test_the_first_final_report_of_an_amount_that_was_estimated_is_projected",
    ),
    Mutation(
        name="no-basis-no-projection",
        guarantee="A node without a basis is projected, whatever its report says.",
        file=_EARNINGS,
        old="for node, basis in bases.items() if basis is None}",
        new="for node, basis in bases.items() if basis == ''}",
        test=_TESTS + "test_a_node_without_a_basis_is_projected_whatever_the_report_says",
    ),
    Mutation(
        name="ledger-by-arrival",
        guarantee="A report that arrives late replaces no later one.",
        file=_EARNINGS,
        old="known.node_id IS NULL\n        OR (new.final,",
        new="true\n        OR (new.final,",
        test=_TESTS + "test_a_report_that_arrives_late_replaces_nothing_and_is_remembered",
    ),
    Mutation(
        name="old-versions-forgotten",
        guarantee="Every distinct version of a ledger row is kept beside it.",
        file=_EARNINGS,
        old="WHERE known.node_id IS NULL OR new.observed_at < known.observed_at",
        new="WHERE new.observed_at < known.observed_at",
        test=_TESTS + "test_a_report_that_arrives_late_replaces_nothing_and_is_remembered",
    ),
    Mutation(
        name="preference-of-its-own-in-sql",
        guarantee="A preference is what tracker_sources says, for the reading that comes as for the row that is held.",
        file=_CACHE,
        old="        LEFT JOIN tracker_sources ON name = source\n",
        new="        LEFT JOIN (VALUES ('hyperfusion', 600)) AS own (name, preference_seconds) ON name = source\n",
        test=_TESTS + "test_the_one_preference_is_that_of_tracker_sources_in_one_batch_and_in_two[batches0]",
    ),
    Mutation(
        name="no-preference-in-memory",
        guarantee="The reduction in memory leaves the choice between sources to the statement that knows preferences.",
        file="services/cache/merge.py",
        old="key = (identifier, reading.source)",
        new='key = (identifier, "any source")',
        test=_TESTS + "test_the_one_preference_is_that_of_tracker_sources_in_one_batch_and_in_two[batches0]",
    ),
    Mutation(
        name="replay-touches-rows",
        guarantee="A replay of old readings locks and writes no row.",
        file=_CACHE,
        old="WHERE cached.fetched_at IS NULL\n        OR (rank,",
        new="WHERE true\n        OR (rank,",
        test=_TESTS + "test_a_replay_of_old_readings_locks_and_writes_no_row",
    ),
    Mutation(
        name="uptime-overwritten",
        guarantee="Five-minute slots are merged, bit by bit.",
        file=_CACHE,
        old="healthy = held.healthy | EXCLUDED.healthy,",
        new="healthy = EXCLUDED.healthy,",
        test=_TESTS + "test_five_minute_slots_of_two_batches_are_both_kept",
    ),
    Mutation(
        name="operator-outranked",
        guarantee="An operator's value outranks trackers' later ones.",
        file=_CACHE,
        old="OR (fact.source = 'operator', fact.observed_at, fact.source COLLATE \"C\")\n"
        "            > (known.source = 'operator', known.observed_at, known.source)\n"
        "    ORDER BY node_id, field\n"
        "    ON CONFLICT (node_id, field) DO UPDATE SET\n"
        "        value = EXCLUDED.value, source = EXCLUDED.source, observed_at = EXCLUDED.observed_at\n"
        "    WHERE (EXCLUDED.source = 'operator', EXCLUDED.observed_at, EXCLUDED.source COLLATE \"C\")\n"
        "        > (held.source = 'operator', held.observed_at, held.source)\n",
        new='OR (fact.observed_at, fact.source COLLATE "C") > (known.observed_at, known.source)\n'
        "    ORDER BY node_id, field\n"
        "    ON CONFLICT (node_id, field) DO UPDATE SET\n"
        "        value = EXCLUDED.value, source = EXCLUDED.source, observed_at = EXCLUDED.observed_at\n"
        '    WHERE (EXCLUDED.observed_at, EXCLUDED.source COLLATE "C") > (held.observed_at, held.source)\n',
        test=_TESTS + "test_an_operators_value_stays_whatever_trackers_say_later",
    ),
    Mutation(
        name="projection-without-its-lock",
        guarantee="Two transactions on one node and date do not miss each other's amount.",
        file=_PROJECTION,
        old="WHERE node_id = ANY($1::uuid[]) ORDER BY node_id FOR UPDATE\n",
        new="WHERE node_id = ANY($1::uuid[]) ORDER BY node_id\n",
        test=_INTERLEAVING + "test_the_same_holds_for_a_node_that_has_history_already",
    ),
    Mutation(
        name="settlement-not-held",
        guarantee="A settlement that moves takes along a report that is being written.",
        file=_EARNINGS,
        old='"ORDER BY epoch FOR SHARE"',
        new='"ORDER BY epoch"',
        test=_INTERLEAVING + "test_a_settlement_that_moves_takes_along_a_report_that_is_being_written[False]",
    ),
    Mutation(
        name="projection-error-blames-a-record",
        guarantee="An error of the projection stops the service: it is never a record's fault.",
        file=_EARNINGS,
        old='raise ProjectionError("earnings_history could not be derived from the ledger") from error',
        new="raise",
        test=_TESTS + "test_history_that_cannot_be_derived_is_no_records_fault",
        fails_with="CheckViolationError",  # which would make dead letters
    ),
    Mutation(
        name="half-even-in-sql",
        guarantee="GNK are rounded half away from zero.",
        file="migrations/0013.gnk-of-ngonka.sql",
        old="round(ngonka * 0.000000001, 8)",
        new="round((ngonka - sign(ngonka) * (abs(ngonka) % 20 = 5)::integer) * 0.000000001, 8)",
        test=_TESTS + "test_the_database_rounds_as_money_does_half_away_from_zero[5]",
    ),
    Mutation(
        name="money-through-a-float",
        guarantee="Money is never a float.",
        file="migrations/0013.gnk-of-ngonka.sql",
        old="round(ngonka * 0.000000001, 8)",
        new="round((ngonka::double precision * 0.000000001)::numeric, 8)",
        test=_TESTS + "test_the_database_rounds_as_money_does_half_away_from_zero[100000000000000005]",
    ),
    Mutation(
        name="rounded-for-each-epoch",
        guarantee="Amounts are added exactly, and rounded once.",
        file="services/earnings/ledger.py",
        old="DayAmount(held.amount + fact.amount,",
        new="DayAmount(round(held.amount, -1) + round(fact.amount, -1),",
        test=_TESTS + "test_days_are_rounded_once_after_adding_up",
    ),
    Mutation(
        name="sign-of-a-correction",
        guarantee="A negative amount is taken off its date.",
        file=_PROJECTION,
        old='int(row["amount_ngonka"])',
        new='abs(int(row["amount_ngonka"]))',
        test=_TESTS + "test_a_negative_amount_is_taken_off",
    ),
    Mutation(
        name="estimates-in-history",
        guarantee="Amounts that are not final are never history.",
        file="services/earnings/ledger.py",
        old="if fact.final and day is not None and",
        new="if day is not None and",
        test=_TESTS + "test_an_amount_that_is_not_final_is_no_history",
    ),
    Mutation(
        name="date-by-observation",
        guarantee="An amount belongs to the date on which its epoch settled, not to that on which it was seen.",
        file="services/earnings/ledger.py",
        old="Settlement(report.settled_exact, report.observed_at, report.settled_at, report.source)",
        new="Settlement(report.settled_exact, report.observed_at, report.observed_at, report.source)",
        test=_TESTS + "test_an_amount_belongs_to_the_utc_date_on_which_its_epoch_settled",
    ),
    Mutation(
        name="date-in-the-sources-time-zone",
        guarantee="A date is of UTC, whatever the time zone of the source that told it.",
        file="services/earnings/ledger.py",
        old="return moment.astimezone(UTC).date()",
        new="return moment.date()",
        test=_TESTS + "test_an_epoch_moves_to_the_utc_date_of_its_better_settlement",
    ),
    Mutation(
        name="date-in-another-time-zone-in-sql",
        guarantee="What PostgreSQL takes for the date of an epoch is the date of UTC too.",
        file=_PROJECTION,
        old="amount_ngonka, final, (settled_at AT TIME ZONE 'UTC')::date AS date",
        new="amount_ngonka, final, (settled_at AT TIME ZONE 'Asia/Tokyo')::date AS date",
        test=_TESTS + "test_an_amount_belongs_to_the_utc_date_on_which_its_epoch_settled",
    ),
)
