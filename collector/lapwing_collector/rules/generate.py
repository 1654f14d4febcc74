"""Writes rules that hold production to a reference: what is usual there is what is expected from then on.

Pure: the reference is an argument, the file is a text.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from lapwing_collector.model.description import parts

MISSING_MORE: Final = 1.1
"""Missing values may be so many times as frequent."""
SIGMAS: Final = 2.0
"""How many standard deviations a mean may move."""
QUANTILE_SHARE: Final = 0.1
"""How much of its size, or of the span from 5 % to 95 % of the values, a quantile may move."""
QUANTILE_ERRORS: Final = 4.0
"""By how many standard errors more, because the quantiles of few rows move by themselves."""
BEYOND_SHARE: Final = 0.005
"""Share of the numbers that may be beyond the extremes of the reference."""
EXTREMES: Final = 10.0
"""Or as many by the rows of the reference: two rows in so many are beyond its extremes by chance."""
DRIFTED_SHARE: Final = 0.3
"""Share of the inputs that must have drifted until the input as a whole has."""

_NEAR: Final = 4
"""Percentiles to either side of a quantile whose distance tells how dense the values are there."""
_QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)
_MOST_LISTS: Final = 50
"""Fields whose categories are watched: each is looked at by itself."""


@dataclass(frozen=True, slots=True)
class ReferenceField:
    """What a reference says of a field.

    Attributes:
        name: Dotted name.
        rows: How many rows there are.
        missing: How many of them have no value.
        numbers: How many have a finite number.
        total: Sum of these.
        squares: Sum of their squares.
        least: The least of them; None where there is none.
        most: The greatest.
        quantiles: Those at 0, 0.01, …, 1; None where they are not known.
        categories: Every text that occurs; None where some occur that are not known, or it has none.
    """

    name: str
    rows: int
    missing: int
    numbers: int = 0
    total: float = 0.0
    squares: float = 0.0
    least: float | None = None
    most: float | None = None
    quantiles: Sequence[float] | None = None
    categories: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class _About:
    """What all rules of a file share.

    Attributes:
        call: The first arguments of each metric.
        window: How far back to look.
        interval: How often.
        absent: Fields of the reference that the model does not send.
    """

    call: str
    window: str
    interval: str
    absent: Sequence[str]


def rules_from(  # noqa: PLR0917  # what a file is about
    model: str,
    table: str,
    reference: str,
    fields: Iterable[ReferenceField],
    interval: str,
    window: str,
    absent: Sequence[str] = (),
) -> str:
    """A rule file for a model, as YAML.

    Args:
        model: Its name.
        table: Its table's name.
        reference: The name of the reference, for drift to compare with.
        fields: What the reference says; fields of labels are passed over.
        interval: How often to look, `1h`.
        window: How far back, `1d`.
        absent: Fields of the reference that the model does not send: nothing is expected of them.
    """
    fields = [each for each in fields if each.name not in absent]
    kept = [each for each in fields if each.rows and each.name.isprintable() and not _is_label(each.name)]
    numbers = [each for each in kept if each.numbers]
    about = _About(f"{_text(table)}, $window_start, $window_end", window, interval, absent)
    rules = [
        _missing(about, kept),
        _range(about, reference, numbers),
        _mean(about, numbers),
        _quantiles(about, numbers),
        _categories(about, kept),
        _types(about),
        _drift(about, reference),
        _dataset_drift(about, reference),
    ]
    head = (
        f"# What {_plain(model)} is expected to be like, by its reference {_plain(reference)}.\n"
        "# Written by `lapwing rules generate`; it is yours to change.\n"
        "groups:\n"
        f"  - name: {json.dumps(f'{model}-{reference}')}\n"
        f"    interval: {interval}\n"
        f"    labels: {{model: {json.dumps(model)}}}\n"
        "    rules:\n"
    )
    return head + "\n".join(rule for rule in rules if rule)


def _missing(about: _About, fields: Sequence[ReferenceField]) -> str:
    if not fields:
        return ""
    limits = [(each.name, MISSING_MORE * each.missing / each.rows) for each in fields]
    return _rule(
        about,
        "MissingValues",
        f"No field is missing more than {MISSING_MORE:g} times as often; by chance it may be.",
        f"SELECT m.field, m.sample_count, m.value, m.low, l.most\n"
        f"FROM missing_share({about.call}, fields := {_list(each.name for each in fields)}) AS m\n"
        f"JOIN {_values(limits, 'field, most')} ON l.field = m.field",
        "low > most",
        "{{ $labels.field }} is missing in {{ $value | humanizePercentage }} of the predictions",
    )


def _range(about: _About, reference: str, fields: Sequence[ReferenceField]) -> str:
    limits = [
        (each.name, max(BEYOND_SHARE, min(1.0, EXTREMES / each.numbers)))
        for each in fields
        if each.least is not None and each.most is not None
    ]
    if not limits:
        return ""
    return _rule(
        about,
        "OutOfRange",
        f"No more than {BEYOND_SHARE:.1%} of the numbers are beyond those of the reference, chance aside.",
        "SELECT b.field, b.sample_count, b.value, b.low, l.most\n"
        f"FROM beyond_reference_share({about.call}, fields := {_list(name for name, _ in limits)},\n"
        f"  reference := {_text(reference)}, confidence := 0.99) AS b\n"
        f"JOIN {_values(limits, 'field, most')} ON l.field = b.field",
        "low > most",
        "{{ $value | humanizePercentage }} of {{ $labels.field }} are beyond the range of the reference",
    )


def _mean(about: _About, fields: Sequence[ReferenceField]) -> str:
    limits = []
    for each in fields:
        mean = each.total / each.numbers
        spread = math.sqrt(max(0.0, each.squares / each.numbers - mean * mean))
        limits.append((each.name, "mean", mean - SIGMAS * spread, mean + SIGMAS * spread, 0.0))
    return _summary(
        "MeanMoved",
        f"The mean of a field stays within {SIGMAS:g} standard deviations of the reference.",
        about,
        limits,
        "the mean of {{ $labels.field }} is {{ $value }}",
    )


def _quantiles(about: _About, fields: Sequence[ReferenceField]) -> str:
    limits = []
    for each in fields:
        if each.quantiles is None or len(each.quantiles) != 101:
            continue
        span = each.quantiles[95] - each.quantiles[5]
        for quantile in _QUANTILES:
            place = round(100 * quantile)
            value = each.quantiles[place]
            room = QUANTILE_SHARE * max(abs(value), span)
            apart = each.quantiles[place + _NEAR] - each.quantiles[place - _NEAR]
            error = QUANTILE_ERRORS * math.sqrt(quantile * (1 - quantile)) * apart / (2 * _NEAR / 100)
            limits.append((each.name, quantile_name(quantile), value - room, value + room, error))
    return _summary(
        "QuantileMoved",
        f"A quantile moves by no more than {QUANTILE_SHARE:.0%} of its size or of the span, chance aside.",
        about,
        limits,
        "{{ $labels.statistic }} of {{ $labels.field }} is {{ $value }}",
    )


def quantile_name(quantile: float) -> str:
    """What `numeric_summary` calls a quantile."""
    return f"q{quantile:.15g}"


def _summary(name: str, told: str, about: _About, limits: Sequence[tuple[object, ...]], summary: str) -> str:
    limits = [row for row in limits if all(math.isfinite(x) for x in row if isinstance(x, float))]
    if not limits:
        return ""
    fields = _list(dict.fromkeys(str(row[0]) for row in limits))
    quantiles = f"[{', '.join(map(repr, _QUANTILES))}]"
    return _rule(
        about,
        name,
        told,
        "SELECT s.field, s.statistic, s.sample_count, s.value,\n"
        "  l.least - l.error / sqrt(s.sample_count) AS least,\n"
        "  l.most + l.error / sqrt(s.sample_count) AS most\n"
        f"FROM numeric_summary({about.call}, fields := {fields}, quantiles := {quantiles}) AS s\n"
        f"JOIN {_values(limits, 'field, statistic, least, most, error')}\n"
        "  ON l.field = s.field AND l.statistic = s.statistic",
        "value < least OR value > most",
        summary,
    )


def _categories(about: _About, fields: Sequence[ReferenceField]) -> str:
    known = [
        each for each in fields if each.categories and all(text.isprintable() for text in each.categories)
    ]
    parts = [
        f"SELECT {_text(each.name)} AS field, sample_count, value\n"
        f"FROM unlisted_share({about.call}, {_column(each.name)}, {_list(each.categories or ())})"
        for each in known[:_MOST_LISTS]
    ]
    if not parts:
        return ""
    return _rule(
        about,
        "UnknownCategory",
        "No text comes that the reference does not have.",
        "\nUNION ALL\n".join(parts),
        "value > 0",
        "{{ $value | humanizePercentage }} of {{ $labels.field }} are categories that are new",
        lasting=False,
    )


def _types(about: _About) -> str:
    return _rule(
        about,
        "TypeChanged",
        "No field comes with another type than before.",
        f"SELECT field, sample_count, value\nFROM type_change_share({about.call})",
        "value > 0",
        "{{ $labels.field }} came with another type in {{ $value | humanizePercentage }} of the predictions",
        lasting=False,
        on_no_data="ok",
    )


def _drift(about: _About, reference: str) -> str:
    return _rule(
        about,
        "FieldDrift",
        "No field is distributed otherwise; the method fits the field, and chance is allowed for.",
        "SELECT field, sample_count, value, drifted\n"
        f"FROM drift({about.call}, reference := {_text(reference)})" + _present(about),
        "drifted = 1",
        "{{ $labels.field }} has drifted from the reference: {{ $value }}",
    )


def _dataset_drift(about: _About, reference: str) -> str:
    return _rule(
        about,
        "InputDrift",
        f"Less than {DRIFTED_SHARE:.0%} of the inputs have drifted, weighted by importance if known.",
        "SELECT sample_count, value\n"
        f"FROM dataset_drift({about.call}, reference := {_text(reference)}, weighted := true)",
        f"value >= {DRIFTED_SHARE:g}",
        "{{ $value | humanizePercentage }} of the inputs have drifted from the reference",
    )


def _rule(  # noqa: PLR0917  # a line for each
    about: _About,
    name: str,
    told: str,
    expr: str,
    condition: str,
    summary: str,
    *,
    lasting: bool = True,
    on_no_data: str = "",
) -> str:
    """A rule; what may be chance must be `lasting`: in two slots in a row."""
    lines = "\n".join(f"          {line}" for line in expr.split("\n"))
    return (
        f"      # {told}\n"
        f"      - alert: {name}\n"
        f"        window: {about.window}\n"
        f"        expr: |\n{lines}\n"
        f"        condition: {condition}\n"
        + (f"        for: {about.interval}\n" if lasting else "")
        + (f"        on_no_data: {on_no_data}\n" if on_no_data else "")
        + "        min_samples: 100\n"
        f"        annotations:\n          summary: {json.dumps(summary)}\n"
    )


def _present(about: _About) -> str:
    """Leaves out what a model does not send: all of it is missing, and that for ever."""
    return f"\nWHERE field NOT IN ({', '.join(map(_text, about.absent))})" if about.absent else ""


def _values(rows: Sequence[tuple[object, ...]], columns: str) -> str:
    told = ",\n".join(f"  ({', '.join(map(_literal, row))})" for row in rows)
    return f"(VALUES\n{told}\n) AS l({columns})"


def _literal(value: object) -> str:
    if isinstance(value, str):
        return _text(value)
    return f"{value!r}::DOUBLE"


def _list(texts: Iterable[str]) -> str:
    return f"[{', '.join(map(_text, texts))}]"


def _text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _column(field: str) -> str:
    """A field as SQL reads it."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in parts(field))


def _plain(text: str) -> str:
    """A name that can stand in a comment."""
    return json.dumps(text)[1:-1]


def _is_label(field: str) -> bool:
    return field.partition(".")[0] == "label"
