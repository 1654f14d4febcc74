"""Asks what a report shows, of its rows and of what they are compared with."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from lapwing_collector.app.gate.mounting import Mount
from lapwing_collector.engine import literal
from lapwing_collector.errors import QueryError
from lapwing_collector.gate import Answer, Answers, Section, questions, sections, step_for
from lapwing_collector.model.description import ModelDescription

_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Looks:
    """What there is to see of some rows.

    Attributes:
        sections: Those of a report.
        answers: What they are made of.
    """

    sections: Sequence[Section]
    answers: Answers


def looks_of(
    told: ModelDescription,
    table: str,
    mounts: Mapping[str, Mount],
    *,
    traffic: bool = False,
    reference: str | None = None,
    only: Collection[str] | None = None,
) -> Looks:
    """Ask what a report shows; what cannot be answered is left out, or told.

    Args:
        told: What is known of the model, what is inferred included.
        table: What its tables are called.
        mounts: The rows that it is about, then what they are compared with, by name.
        traffic: Whether the rows are calls that were made, and not a file.
        reference: The reference that drift is of; the newest if None.
        only: The keys of the questions that are asked; all if None.
    """
    first = next(iter(mounts.values()))
    asked = questions(
        told,
        literal(table),
        every=step_for(first.since, first.until) if traffic else None,
        reference=None if reference is None else literal(reference),
    )
    asked = [each for each in asked if only is None or each.key in only]
    answers = {
        (side, each.key): _answer(mount, each.sql)
        for at, (side, mount) in enumerate(mounts.items())
        for each in asked
        if at == 0 or each.each_side
    }
    return Looks(sections(asked, answers, list(mounts)), answers)


def _answer(mount: Mount, sql: str) -> Answer:
    try:
        rows = mount.ask(sql, {"window_start": mount.since, "window_end": mount.until}, _S)
    except QueryError as error:
        return Answer(problem=str(error))
    return Answer(rows.to_pylist(maps_as_pydicts="lossy"))
