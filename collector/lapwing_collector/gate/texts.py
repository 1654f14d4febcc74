"""An evaluation as text for a terminal, and as Markdown for a pull request."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from lapwing_collector.gate.values import Cell, Chart, Check, Comparison, Evaluation, Outcome, Report
from lapwing_collector.gate.words import (
    beside,
    cell,
    interval,
    labels,
    number,
    shown,
    side,
    summary,
    title,
    word,
)

_QUIET: Final = frozenset({Outcome.PASSED})
_FEW: Final = 3
"""So many rows of a rule that passed are shown one by one."""
_SERIES: Final = ("", "Points", "Least", "Most", "Last")
_ACTIVE: Final = str.maketrans({each: f"\\{each}" for each in "\\`*_[]<>|#~!&$"})


def text_of(evaluation: Evaluation) -> str:
    """Lines for a terminal: what took part, each rule, what the models are like side by side, the verdict."""
    lines = [side(each) for each in evaluation.sides]
    lines += [f"note: {shown(note)}" for note in evaluation.notes]
    lines.append("")
    for rule, checks in _by_rule(evaluation.checks):
        lines += _rule_lines(rule, checks, evaluation)
    if evaluation.comparisons:
        lines += ["", "on the same rows as production:"]
        lines += [f"  {_compared(each)}" for each in evaluation.comparisons]
    return "\n".join([*lines, "", f"{title(evaluation)}: {summary(evaluation)}", ""])


def markdown_of(evaluation: Evaluation) -> str:
    """A comment on a pull request."""
    mark = "✅" if evaluation.passed else "❌"
    lines = [f"### {mark} {_inert(title(evaluation))}", "", _inert(summary(evaluation)), ""]
    rows = [
        (check.rule, labels(check), word(check, evaluation), number(check.value), beside(check), check.text)
        for check in _worst_first(evaluation)
    ]
    lines += _table(("Rule", "Row", "Outcome", "Value", "Beside", "Why"), rows)
    if evaluation.comparisons:
        lines += ["", "On the same rows as production:", ""]
        lines += _table(
            ("Metric", "Production", "Candidate", "Difference", "Interval", ""),
            [
                (
                    each.what,
                    number(each.champion),
                    number(each.challenger),
                    number(each.difference),
                    interval(each.low, each.high),
                    each.problem or each.word,
                )
                for each in evaluation.comparisons
            ],
        )
    lines += ["", *(f"- {_inert(side(each))}" for each in evaluation.sides)]
    lines += [f"- note: {_inert(shown(note))}" for note in evaluation.notes]
    return "\n".join([*lines, ""])


def report_text(report: Report) -> str:
    """A report as lines for a terminal."""
    lines = [side(each) for each in report.sides]
    lines += [f"note: {shown(note)}" for note in report.notes]
    if report.advice is not None:
        lines += ["", shown(report.advice.text)]
        lines += [f"  {step.question} {step.answer}: {shown(step.because)}" for step in report.advice.steps]
    for section in report.sections:
        lines += ["", shown(section.title).upper()]
        if section.problem:
            lines.append(f"  {shown(section.problem)}")
        if section.table is not None:
            lines += [f"  {line}" for line in _columns(section.table.columns, section.table.rows)]
        elif section.charts:
            lines += [f"  {line}" for line in _columns(_SERIES, list(map(list, _series(section.charts))))]
    return "\n".join([*lines, ""])


def _series(charts: Iterable[Chart]) -> Iterator[tuple[Cell, ...]]:
    """Each line of charts in a row, where nothing can be drawn."""
    for chart in charts:
        for line in chart.lines:
            values = [value for value in line.y if value is not None]
            if values:
                name = chart.title if len(chart.lines) == 1 else f"{chart.title}, {line.name}"
                yield name, len(values), min(values), max(values), values[-1]


def _rule_lines(rule: str, checks: Sequence[Check], evaluation: Evaluation) -> Iterator[str]:
    loud = [check for check in checks if check.outcome not in _QUIET]
    quiet = [check for check in checks if check.outcome in _QUIET]
    if len(quiet) > _FEW:
        yield f"{shown(rule)}: {len(quiet)} of {len(checks)} passed"
    else:
        loud = [*quiet, *loud]
    for check in loud:
        told = [shown(rule), labels(check)]
        value = number(check.value) if check.value is not None else ""
        count = "" if check.sample_count is None else f"{check.sample_count:,} rows"
        numbers = ", ".join(filter(None, [value, beside(check), count]))
        yield f"{' '.join(filter(None, told))}: {word(check, evaluation)}{f' ({numbers})' if numbers else ''}"
        if check.text:
            yield f"  {shown(check.text)}"


def _compared(each: Comparison) -> str:
    if each.problem:
        return f"{each.what}: {shown(each.problem)}"
    bounds = interval(each.low, each.high)
    return (
        f"{each.what}: {number(each.challenger)}, production {number(each.champion)}: "
        f"{each.word} (difference {number(each.difference)}{f', {bounds}' if bounds else ''}; "
        f"{each.sample_count or 0:,} pairs)"
    )


def _worst_first(evaluation: Evaluation) -> list[Check]:
    """What matters first; of what passed, one line for a rule with many rows."""
    stopped = list(evaluation.stops)
    warned = list(evaluation.warnings)
    rest = [check for check in evaluation.checks if check not in stopped and check not in warned]
    few = []
    for _, checks in _by_rule(rest):
        few += checks if len(checks) <= _FEW else checks[:1]
    return [*stopped, *warned, *few]


def _by_rule(checks: Iterable[Check]) -> list[tuple[str, list[Check]]]:
    found: dict[str, list[Check]] = {}
    for check in checks:
        found.setdefault(check.rule, []).append(check)
    return list(found.items())


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return lines + [f"| {' | '.join(_inert(shown(each)) for each in row)} |" for row in rows]


def _inert(text: str) -> str:
    """A text in which Markdown finds nothing to do."""
    return text.translate(_ACTIVE).replace("@", "@\u200b")


def _columns(names: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    texts = [[shown(name) for name in names], *([cell(each) for each in row] for row in rows)]  # type: ignore[arg-type]
    widths = [max(len(row[at]) for row in texts) for at in range(len(names))]
    return [
        "  ".join(each.ljust(width) for each, width in zip(row, widths, strict=True)).rstrip()
        for row in texts
    ]
