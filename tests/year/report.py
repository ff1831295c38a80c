"""What a year came to, as text."""

from tests.year.year import Outcome

SPECIFIED_MB = 75.0
"""The specification's estimate of earnings_history, indexes included, at 365,000 rows."""


def report(outcome: Outcome) -> str:
    """The figures, and every difference."""
    plan, seconds = outcome.plan, outcome.seconds
    lines = [
        f"{plan.epochs} epochs, {plan.hosts:,} hosts, seed {plan.seed}: {'FAILED' if outcome.differences else 'exact'}",
        f"  faults: {_counts(outcome.faults)}",
        f"  epochs not published at once: {_counts(outcome.unpublished)}",
        f"  {outcome.restated} epochs restated by the chain; {outcome.estimated_wrongly} first dated on a wrong day; "
        f"{outcome.two_on_a_date} dates with several epochs, {outcome.dates_without} with none",
        f"  {sum(outcome.answers.values()):,} requests, {outcome.reports:,} reports, "
        f"{outcome.history_rows:,} rows of history",
        *(f"  {what}: {took:.0f} s" for what, took in seconds.items()),
    ]
    if drained := seconds.get("until all of it is in the tables"):
        lines.append(f"  {outcome.reports / drained:,.0f} reports/s from the chain's answer to the tables")
    if outcome.budget:
        budget = ", ".join(f"{stage} {took:.0f} s" for stage, took in sorted(outcome.budget.items()))
        lines.append(f"  the earnings worker's time: {budget}")
    if again := seconds.get("again, in disorder"):
        lines.append(
            f"  {outcome.redelivered:,} records delivered again in disorder, {outcome.kills} workers killed: "
            f"{outcome.redelivered / again:,.0f} records/s"
        )
    lines += [f"  {size}" for size in outcome.sizes]
    lines.append(f"  (the specification estimates earnings_history at {SPECIFIED_MB:.0f} MB for 365,000 rows)")
    lines += [f"  DIFFERENCE: {difference}" for difference in outcome.differences]
    return "\n".join(lines)


def _counts(found: "dict[str, int]") -> str:
    return ", ".join(f"{number:,} {what}" for what, number in sorted(found.items())) or "none"
