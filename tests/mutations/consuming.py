"""Mutations of the batch consumer: nothing is lost, and nothing is committed that was not handled."""

from tests.mutations.mutation import Mutation

_CONSUMER = "services/kernel/consumer.py"
_BATCHES = "services/kernel/batches.py"
_PLAIN = "services/kernel/plain.py"
_POLLING = "services/kernel/polling.py"
_HOLDS = "services/kernel/holds.py"
_TESTS = "tests/integration/test_consumer.py::"
_GUARANTEES = "tests/integration/test_consumer_guarantees.py::"
_HOLDING = "tests/integration/test_consumer_holds.py::"

CONSUMING = (
    Mutation(
        name="commit-before-write",
        guarantee="Offsets are committed only after the database's transaction.",
        file=_CONSUMER,
        old='        with self._metrics.stage("handle"):\n',
        new='        await self._commit(batch.offsets, {})\n        with self._metrics.stage("handle"):\n',
        test=_TESTS + "test_a_defect_stops_the_consumer_and_commits_nothing",
    ),
    Mutation(
        name="dead-letters-not-awaited",
        guarantee="Offsets are committed only after Kafka confirmed the dead letters.",
        file=_CONSUMER,
        old='await self._retrying(batch, "dead_letters", lambda: send_letters(self._dead_letters, batch.letters))',
        new="asyncio.ensure_future(send_letters(self._dead_letters, batch.letters))",
        test=_GUARANTEES + "test_nothing_is_committed_before_the_dead_letters_are_confirmed",
    ),
    Mutation(
        name="dead-letters-tried-once",
        guarantee="Dead letters that Kafka does not take are tried again, and nothing is committed meanwhile.",
        file="services/kernel/dead_letters.py",
        old="    except MessageSizeTooLargeError:\n        for dead in letters:",
        new="    except Exception:\n        for dead in []:",
        test=_GUARANTEES + "test_nothing_is_committed_before_the_dead_letters_are_confirmed",
    ),
    Mutation(
        name="delivery-not-awaited",
        guarantee="The publisher returns once Kafka has acknowledged every record, and raises otherwise.",
        file="services/kernel/publisher.py",
        old="outcomes = await asyncio.gather(*deliveries, return_exceptions=True)",
        new="outcomes: list[Any] = []",
        test="tests/integration/test_publisher.py::test_records_after_one_that_the_broker_refused_are_taken_each_once",
        fails_with="Failed",  # pytest: the expected exception was not raised
    ),
    Mutation(
        name="refused-letter-of-another",
        guarantee="The dead letter of a record that the database refuses is that record, key, value and headers.",
        file=_BATCHES,
        old="return run.partition, run.offsets[place]",
        new="return run.partition, run.offsets[0]",
        test="tests/integration/test_pipeline_dead_letters.py::"
        "test_a_record_that_the_database_refuses_is_found_and_dead_lettered_alone",
    ),
    Mutation(
        name="exception-swallowed",
        guarantee="What nobody foresaw stops the service and commits nothing.",
        file=_CONSUMER,
        old="                return await self._handle(events)\n",
        new="                try:\n"
        "                    return await self._handle(events)\n"
        "                except Exception as error:\n"
        '                    self._log.error("handling_failed", error=repr(error))\n'
        "                    return Applied(0, 0)\n",
        test=_TESTS + "test_a_defect_stops_the_consumer_and_commits_nothing",
    ),
    Mutation(
        name="crash-unnoticed",
        guarantee="A loop that fails ends the service: none lives on doing nothing.",
        file=_CONSUMER,
        old="            await self.crash(error)\n",
        new="",
        test=_TESTS + "test_a_defect_stops_the_consumer_and_commits_nothing",
    ),
    Mutation(
        name="ack-on-cancel",
        guarantee="A batch that a stop cuts off is not committed.",
        file=_CONSUMER,
        old="            if left:  # not for ever (see on_stop)\n",
        new="            for each in under_way:\n"
        "                await self._commit_batch(each.batch, Applied(0))\n"
        "            if left:\n",
        test=_GUARANTEES + "test_a_batch_that_a_stop_cuts_off_is_not_committed",
    ),
    Mutation(
        name="batch-in-hand-cut-off",
        guarantee="A stop lets the batches in hand finish and commits them.",
        file=_CONSUMER,
        old="_, late = await asyncio.wait(self._working, timeout=_STOP_SECONDS)",
        new="late = self._working",
        test=_TESTS + "test_a_stop_lets_the_batches_in_hand_finish_and_commits_them",
    ),
    Mutation(
        name="position-committed",
        guarantee="What is committed is what was handled, not how far polling has come.",
        file=_CONSUMER,
        old="lambda: self._commit(batch.offsets, over)",
        new="lambda: self._commit({p: self._polling._next[p] for p in batch.offsets}, over)",
        test=_TESTS + "test_a_stop_lets_the_batches_in_hand_finish_and_commits_them",
    ),
    Mutation(
        name="offset-of-the-last-record",
        guarantee="The committed offset is that behind the last handled record: it is not read again.",
        file=_CONSUMER,
        old="batch.offsets[partition] = records.next_offset",
        new="batch.offsets[partition] = records.next_offset - 1",
        test=_TESTS + "test_a_first_start_reads_from_the_beginning_and_commits_what_it_handled",
    ),
    Mutation(
        name="finished-out-of-turn",
        guarantee="A batch is committed after those ahead of it, however early it was handled.",
        file=_CONSUMER,
        old="if under_way and under_way[0].handling.done():",
        new="if under_way and under_way[-1].handling.done() and (under_way.rotate(1) or True):",
        test=_GUARANTEES + "test_a_batch_that_is_handled_before_the_one_ahead_of_it_is_committed_after_it",
    ),
    Mutation(
        name="left-for-a-hold",
        guarantee="A hold of one partition does not leave the other records of a batch that is being handled.",
        file=_CONSUMER,
        old="if self._polling.disowned(batch.poll, batch.offsets) == batch.offsets.keys():",
        new="if self._polling.disowned(batch.poll, batch.offsets):",
        test=_HOLDING + "test_a_batch_that_is_tried_again_while_one_of_its_partitions_is_held_is_not_left",
    ),
    Mutation(
        name="held-while-handled",
        guarantee="What of a batch was held while it was handled is not committed with it.",
        file=_CONSUMER,
        old="            batch = self._held(batch)\n",
        new="",
        test=_HOLDING + "test_a_batch_that_is_tried_again_while_one_of_its_partitions_is_held_is_not_left",
    ),
    Mutation(
        name="revoked-batch-applied",
        guarantee="What was read ahead of a partition's revocation is neither applied nor committed after it.",
        file=_POLLING,
        old="return {partition for partition in partitions if poll < self._first_poll.get(partition, 0)}",
        new="return set()",
        test=_GUARANTEES + "test_what_was_read_ahead_of_a_revocation_is_not_applied_after_it",
    ),
    Mutation(
        name="reduced-before-halving",
        guarantee="Halving is of the batch's records, so that a refused one hides no good one.",
        file=_CONSUMER,
        old="apply_by_halves(batch.events(),",
        new="apply_by_halves(list({event.identifier: event for event in batch.events()}.values()),",
        test=_GUARANTEES + "test_a_good_reading_behind_a_newer_one_that_is_refused_is_applied",
    ),
    Mutation(
        name="refused-batch-dropped-whole",
        guarantee="Only the record that the database refuses becomes a dead letter, all others are applied.",
        file="services/kernel/halving.py",
        old="        if len(events) == 1:\n            return Applied(0, 0), [Refused(begin, str(error))]\n",
        new="        return Applied(0, 0), [Refused(begin + at, str(error)) for at in range(len(events))]\n",
        test="tests/unit/test_halving.py::test_exactly_the_refused_are_found_with_their_places_and_all_others_applied",
    ),
    Mutation(
        name="duplicate-counted-as-stale-too",
        guarantee="Each handled record is counted once: applied, stale, a duplicate or a dead letter.",
        file="services/kernel/halving.py",
        old="return cls(changed, events - changed - duplicate, duplicate)",
        new="return cls(changed, events - changed, duplicate)",
        test="tests/integration/test_outcomes.py::test_the_outcomes_add_up_to_the_handled_records",
    ),
    Mutation(
        name="time-limit-retried-whole",
        guarantee="A batch that hits a time limit is tried again with less at once.",
        file=_CONSUMER,
        old=" or (divisible and fault is Fault.SLOW)",
        new="",
        test=_TESTS + "test_a_batch_that_hits_a_time_limit_gets_through_in_parts",
    ),
    Mutation(
        name="slow-record-refused",
        guarantee="A record that alone hits the time limit is nobody's fault: it is tried again, no dead letter.",
        file="services/kernel/halving.py",
        old=" or (fault is Fault.SLOW and len(events) == 1)",
        new="",
        test="tests/unit/test_halving.py::test_one_event_that_is_too_slow_is_no_ones_fault",
        fails_with="Failed",
    ),
    Mutation(
        name="outage-is-a-records-fault",
        guarantee="A database that is full, or away, means lag, never a dead letter.",
        file="services/kernel/transient.py",
        old='"53": Fault.TRANSIENT',
        new='"53": Fault.REFUSED',
        test="tests/unit/test_transient.py::test_what_passes_by_itself_is_retried[error5]",
    ),
    Mutation(
        name="no-poll-while-waiting",
        guarantee="A batch is waited for with paused partitions polled on, so that an outage costs no partition.",
        file=_CONSUMER,
        old="await self._polling.poll_nothing()",
        new="await asyncio.sleep(0)",
        test=_GUARANTEES + "test_the_group_keeps_its_member_through_an_outage_longer_than_the_poll_interval",
    ),
    Mutation(
        name="deleted-records-skipped",
        guarantee="Records that were deleted before they were handled are an alarm, not a skip.",
        file=_POLLING,
        old='auto_offset_reset="none"',
        new='auto_offset_reset="earliest"',
        test=_GUARANTEES + "test_records_that_were_deleted_before_they_were_handled_stop_the_consumer",
    ),
    Mutation(
        name="first-start-at-the-end",
        guarantee="A group that never committed reads from the beginning.",
        file=_POLLING,
        old="await self._consumer.seek_to_beginning(*error.args)",
        new="await self._consumer.seek_to_end(*error.args)",
        test=_TESTS + "test_a_first_start_reads_from_the_beginning_and_commits_what_it_handled",
    ),
    Mutation(
        name="two-ownerships-in-a-batch",
        guarantee="What is read after a revocation is not added to a batch that was read before it.",
        file=_BATCHES,
        old="self._batch.ownership == batch.ownership and ",
        new="",
        test=_TESTS + "test_what_is_read_after_a_revocation_is_not_left_with_what_was_read_before_it",
    ),
    Mutation(
        name="unreadable-record-skipped",
        guarantee="A record that the client cannot read becomes a dead letter: it is not passed over.",
        file=_CONSUMER,
        old=", offsets, letters=[letter]",
        new=", offsets",
        test=_TESTS + "test_a_record_that_the_client_cannot_read_is_a_dead_letter_and_the_others_are_handled",
        fails_with="ValueError",  # there is no letter to unpack
    ),
    Mutation(
        name="one-over-the-limit",
        guarantee="A partition is held before the limit on invalid records is passed.",
        file=_HOLDS,
        old="if sum(self.counts.values()) >= self.limit:",
        new="if sum(self.counts.values()) > self.limit:",
        test="tests/unit/test_holds.py::test_the_limit_is_admitted_and_one_more_is_not",
    ),
    Mutation(
        name="count-not-noted",
        guarantee="The count of invalid records survives a restart.",
        file=_HOLDS,
        old='return "" if window is None else window.note(hold)',
        new='return ""',
        test=_HOLDING + "test_the_count_below_the_limit_survives_restarts_too",
    ),
    Mutation(
        name="count-not-recalled",
        guarantee="Whoever takes a partition over takes up its count of invalid records.",
        file=_CONSUMER,
        old="self._limit.recall(partition, held.note)",
        new='self._limit.recall(partition, "")',
        test=_HOLDING + "test_the_count_below_the_limit_survives_restarts_too",
    ),
    Mutation(
        name="count-recalled-after-a-revocation",
        guarantee="What a rebalance takes away while its count is recalled is judged by whoever reads it again, alone.",
        file=_CONSUMER,
        old="            raise _LeftError  # a revocation forgets counts: none may be taken up or judged by after it\n",
        new="            pass\n",
        test=_HOLDING
        + "test_what_a_rebalance_takes_away_while_the_count_is_recalled_is_counted_by_whoever_reads_it_again",
    ),
    Mutation(
        name="hold-without-cut",
        guarantee="The offset of a held partition stays before its first record above the limit.",
        file=_CONSUMER,
        old="        batch.offsets.update((partition, hold.offset) for partition, hold in over.items())\n",
        new="",
        test=_HOLDING + "test_a_partition_is_held_before_the_limit_is_passed_and_others_go_on",
    ),
    Mutation(
        name="read-ahead-of-a-hold-counts",
        guarantee="What was read ahead of a hold is not committed past the held record.",
        file=_POLLING,
        old="        self._first_poll[partition] = sys.maxsize\n",
        new="",
        test=_HOLDING + "test_what_was_read_ahead_of_a_hold_is_not_committed_after_it_ends",
    ),
    Mutation(
        name="release-without-going-back",
        guarantee="A released partition is read on from the record at which it was held.",
        file=_POLLING,
        old="        self._consumer.seek(partition, offset)\n        self._consumer.resume(partition)\n",
        new="        self._consumer.resume(partition)\n",
        test=_HOLDING + "test_what_was_read_ahead_of_a_hold_is_not_committed_after_it_ends",
    ),
    Mutation(
        name="future-by-the-clock",
        guarantee='"In the future" is judged by the time at which the broker took the record: always the same verdict.',
        file="services/kernel/wire.py",
        old="check(event, _latest[record.timestamp])",
        new='check(event, _latest[int(__import__("time").time() * 1000)])',
        test="tests/unit/test_events.py::test_the_future_is_judged_by_the_records_own_time",
        fails_with="Failed",
    ),
    Mutation(
        name="plain-of-another-length",
        guarantee="A record is plain by all of its bytes: what is left of them may say what it is.",
        file=_PLAIN,
        old=" or short > _ONE_BYTE or at != stop:",
        new=" or short > _ONE_BYTE:",
        test="tests/unit/test_plain.py::test_a_record_of_another_length_than_it_says_leaves_all_to_the_library[1]",
    ),
    Mutation(
        name="plain-beyond-the-end",
        guarantee="Of bytes that end amid a record no value is taken.",
        file=_PLAIN,
        old="return (values, deltas) if at == end else None",
        new="return values, deltas",
        test="tests/unit/test_plain.py::test_a_record_that_is_cut_off_leaves_all_to_the_library",
    ),
    Mutation(
        name="future-of-the-first",
        guarantee="Of many values that are decoded at once each is judged by the record's time.",
        file="services/kernel/wire.py",
        old="elif max(map(moment_of, events), default=latest) > latest:",
        new="elif moment_of(events[0]) > latest:",
        test="tests/unit/test_events.py::test_many_at_once_have_the_verdicts_that_they_have_one_by_one"
        "[ahead of its time]",
    ),
    Mutation(
        name="checksum-not-compared",
        guarantee="A batch that was damaged is no records, and is not passed.",
        file="services/kernel/parsed.py",
        old="crc32c(content[_CRC_COVERS:]) == batch.crc,",
        new="crc32c(content[_CRC_COVERS:]) >= 0,",
        test="tests/unit/test_parsed.py::test_a_batch_that_was_damaged_is_no_records_and_is_not_passed",
        fails_with="Failed",
    ),
    Mutation(
        name="watchdog-by-the-clock",
        guarantee="The watchdog counts its own ticks: a process that was suspended was not stuck.",
        file="services/kernel/watchdog.py",
        old="        still = dict.fromkeys(seen, 0)  # ticks without a move\n"
        "        while not self._ended.wait(self._tick_seconds):\n"
        "            for name, counter in self._watched.items():\n"
        "                value = counter()\n"
        "                still[name] = 0 if value != seen[name] else still[name] + 1\n",
        new="        from time import monotonic\n"
        "        still, moved = dict.fromkeys(seen, 0), dict.fromkeys(seen, monotonic())\n"
        "        while not self._ended.wait(self._tick_seconds):\n"
        "            for name, counter in self._watched.items():\n"
        "                value = counter()\n"
        "                if value != seen[name]:\n"
        "                    moved[name] = monotonic()\n"
        "                still[name] = round((monotonic() - moved[name]) / self._tick_seconds)\n",
        test="tests/unit/test_watchdog.py::test_a_suspension_longer_than_its_patience_does_not_count",
    ),
)
