"""The table of a chaos run, in Markdown: a row for each schedule and one for all."""

from collections.abc import Sequence

from tests.chaos.run import Outcome
from tests.chaos.schedule import Kind

_COLUMNS = (
    "seed",
    "events",
    "faults",
    "restarts",
    "redelivered",
    "dead letters (sent again)",
    "kill -9 to progress, s",
    "PostgreSQL's return to progress, s",
    "Kafka's return to progress, s",
    "duration, s",
    "lost",
    "counted twice",
    "verdict",
)


def table(outcomes: Sequence[Outcome]) -> str:
    """The rows; recovery times are the longest ones."""
    lines = [_line(_COLUMNS), _line(["---"] * len(_COLUMNS)), *(_line(_cells(outcome)) for outcome in outcomes)]
    if len(outcomes) > 1:
        lines.append(_line(_summary(outcomes)))
    return "\n".join(lines) + "\n"


def _cells(outcome: Outcome) -> list[str]:
    accounts = outcome.accounts
    return [
        str(outcome.schedule.seed),
        f"{accounts.records:,}",
        ", ".join(f"{outcome.faults[kind]} {kind}" for kind in Kind if outcome.faults[kind]),
        str(outcome.restarts),
        f"{outcome.redelivered:,}",
        f"{accounts.letters:,} ({accounts.letters_again:,})",
        _longest(outcome.take_overs),
        _longest(outcome.returns["postgres"]),
        _longest(outcome.returns["kafka"]),
        f"{outcome.seconds:.0f}",
        str(len(accounts.lost)),
        str(len(accounts.counted_twice)),
        "passed" if outcome.passed else "FAILED",
    ]


def _summary(outcomes: Sequence[Outcome]) -> list[str]:
    accounts = [outcome.accounts for outcome in outcomes]
    failed = sum(not outcome.passed for outcome in outcomes)
    return [
        f"all {len(outcomes)}",
        f"{sum(each.records for each in accounts):,}",
        str(sum(outcome.faults.total() for outcome in outcomes)),
        str(sum(outcome.restarts for outcome in outcomes)),
        f"{sum(outcome.redelivered for outcome in outcomes):,}",
        f"{sum(each.letters for each in accounts):,} ({sum(each.letters_again for each in accounts):,})",
        _longest([seconds for outcome in outcomes for seconds in outcome.take_overs]),
        *(_longest([seconds for o in outcomes for seconds in o.returns[name]]) for name in ("postgres", "kafka")),
        f"{sum(outcome.seconds for outcome in outcomes):.0f}",
        str(sum(len(each.lost) for each in accounts)),
        str(sum(len(each.counted_twice) for each in accounts)),
        f"{failed} FAILED" if failed else "passed",
    ]


def _longest(seconds: Sequence[float]) -> str:
    return f"{max(seconds):.1f} (of {len(seconds)})" if seconds else "-"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
