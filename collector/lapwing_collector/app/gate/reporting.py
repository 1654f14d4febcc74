"""`lapwing report`: a look at some rows of a model, beside what they are compared with."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import lapwing
from lapwing_collector.app.gate import gate_lake
from lapwing_collector.app.gate.candidates import (
    Wanted,
    kept_rows,
    looked_up,
    means_of,
    named_reference,
    prepare,
    side_of,
    source_of,
)
from lapwing_collector.app.gate.contents import Looks, looks_of
from lapwing_collector.app.gate.gate_lake import PRODUCTION, Ask, Seen
from lapwing_collector.app.gate.mounting import Mount, Reference, Subject, mounted
from lapwing_collector.app.places.project import models_for
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.engine import identifier
from lapwing_collector.errors import ConfigError
from lapwing_collector.gate import ENOUGH, Report, Side, advise, needed
from lapwing_collector.model.description import ModelDescription, Source, infer, merged

NOW: Final = "current"
THEN: Final = "reference"
BEFORE: Final = "before"

_COUNTED: Final = """
SELECT count(*) AS rows, count(label) AS labels, list_sort(list_distinct(list(version))) AS versions
FROM labeled.{table} WHERE time >= $since AND time < $until
"""


@dataclass(frozen=True, slots=True)
class _Looking:
    """Rows of a model that can be asked, and what they are compared with.

    Attributes:
        told: What is known of the model, what is inferred included.
        table: What its tables are called.
        mounts: The rows, then what they are compared with, by name.
        sides: What to say of each.
        notes: What people should know.
        live: Whether the rows are calls that were made, and not a file.
    """

    told: ModelDescription
    table: str
    mounts: Mapping[str, Mount]
    sides: Sequence[Side]
    notes: Sequence[str]
    live: bool


def report(file: Path | None, wanted: Wanted, enough: int = ENOUGH) -> Report:
    """Look at rows of a model, and say whether to retrain it.

    Args:
        file: The settings file, if any.
        wanted: The rows: a file, a table, or `production:7d` of the lake. `reference`, and an earlier window
            of production as `against`, are what they are compared with. Rules do not count.
        enough: Labelled rows from which on it is worth to learn from them.

    Raises:
        LapwingError: They cannot be read, or the lake cannot be asked.
    """
    at = utc_datetime(SystemClock().now_ns())
    settings, models = models_for(file)
    declared = models.get(wanted.model, ModelDescription())
    with ExitStack() as parts:
        looking = _looking(declared, wanted, looked_up(settings, wanted, parts), at, parts)
        named = named_reference(wanted.reference)
        looks = looks_of(looking.told, looking.table, looking.mounts, traffic=looking.live, reference=named)
    return _told_of(wanted.model, at, looking, looks, enough)


def window_report(ask: Ask, model: str, since: datetime, until: datetime) -> Report:
    """Look at a window of a model's production, and say whether to retrain it.

    Args:
        ask: Asks the lake.
        model: The model.
        since: Where the window begins.
        until: Where it ends, exclusive.

    Raises:
        UnknownModelError: There is no such model.
        LapwingError: The lake cannot be asked.
    """
    at = utc_datetime(SystemClock().now_ns())
    with _looking_live(ask, model, f"{since.isoformat()}..{until.isoformat()}", at) as looking:
        looks = looks_of(looking.told, looking.table, looking.mounts, traffic=True)
    return _told_of(model, at, looking, looks, ENOUGH)


def advice_on(ask: Ask, model: str, window: str = "7d") -> dict[str, Any]:
    """Whether to retrain a model, by its newest rows and the reference that drift is compared with, for JSON.

    Args:
        ask: Asks the lake.
        model: The model.
        window: How far back from its newest prediction.

    Raises:
        UnknownModelError: There is no such model.
        LapwingError: The lake cannot be asked.
    """
    at = utc_datetime(SystemClock().now_ns())
    with _looking_live(ask, model, window, at) as looking:
        looks = looks_of(looking.told, looking.table, looking.mounts, only=needed(looking.told))
    made = advise(looking.told, looks.answers, list(looking.mounts))
    return Report(model, at, looking.sides, (), made, lapwing=lapwing.__version__).as_json()


def _told_of(model: str, at: datetime, looking: _Looking, looks: Looks, enough: int) -> Report:
    return Report(
        model=model,
        made_at=at,
        sides=looking.sides,
        sections=looks.sections,
        advice=advise(looking.told, looks.answers, list(looking.mounts), enough),
        notes=looking.notes,
        lapwing=lapwing.__version__,
    )


@contextmanager
def _looking_live(ask: Ask, model: str, window: str, at: datetime) -> Iterator[_Looking]:
    """A window of production, as the lake that answers `ask` knows the model."""
    found = gate_lake.known_model(gate_lake.seen(ask, model), model)
    wanted = Wanted(model=model, data=f"{PRODUCTION}:{window}")
    with ExitStack() as parts:
        yield _looking(ModelDescription(), wanted, found, at, parts)


def _looking(
    declared: ModelDescription, wanted: Wanted, found: Seen | None, at: datetime, parts: ExitStack
) -> _Looking:
    means = means_of(declared, wanted, found, at)
    live = _window(wanted.data, found, wanted.model)
    references: Sequence[Reference]
    notes: Sequence[str]
    if live is None:
        ready = prepare(declared, wanted, found, at)
        subject, references, told, notes = ready.subject, ready.references, ready.told, ready.notes
        mounts = {NOW: parts.enter_context(mounted(subject, ready.candidate, references))}
        sides = [side_of(NOW, source_of(wanted.data), ready.candidate)]
    else:
        model = gate_lake.known_model(found, wanted.model)
        subject = Subject(wanted.model, model.table, means.description, model.binnings)
        references = gate_lake.references_of(model, named_reference(wanted.reference), (), at)
        told, notes = _told(model, means.description), ()
        mounts, sides = {NOW: live}, [_counted(model, NOW, str(wanted.data), live)]
    kept = kept_rows(references, means)
    if kept is not None:
        mounts[THEN] = parts.enter_context(mounted(subject, kept[1], references))
        sides.append(side_of(THEN, kept[0], kept[1]))
    if wanted.against is not None:
        before = _window(wanted.against, found, wanted.model)
        if before is None:
            raise ConfigError("an earlier window of production is named as production:2026-01-01..2026-02-01")
        mounts[BEFORE] = before
        model = gate_lake.known_model(found, wanted.model)
        sides.append(_counted(model, BEFORE, str(wanted.against), before))
    return _Looking(told, subject.table, mounts, sides, notes, live is not None)


def _window(data: object, found: Seen | None, model: str) -> Mount | None:
    """A window of production, asked in the lake itself; None for what is none."""
    where = gate_lake.place(data) if isinstance(data, str) else None
    if where is None or where[0] != PRODUCTION:
        return None
    seen = gate_lake.known_model(found, model)
    since, until = gate_lake.span_of(seen, *where)
    return Mount(lambda sql, parameters, _: seen.ask(sql, parameters), since, until)


def _told(model: Seen, description: ModelDescription) -> ModelDescription:
    inferred = infer(model.known, model.labels, description)
    return merged({Source.SDK: description, Source.INFERRED: inferred})


def _counted(model: Seen, name: str, source: str, mount: Mount) -> Side:
    sql = _COUNTED.format(table=identifier(model.table))
    (row,) = model.ask(sql, {"since": mount.since, "until": mount.until}).to_pylist()
    versions = [each for each in row["versions"] or [] if each is not None]
    return Side(name, source, row["rows"], row["labels"], versions, mount.since, mount.until)
