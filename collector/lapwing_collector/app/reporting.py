"""`lapwing report`: a look at some rows of a model, beside what they are compared with."""

from contextlib import ExitStack
from pathlib import Path
from typing import Final

import lapwing
from lapwing_collector.app import gate_lake
from lapwing_collector.app.candidates import (
    Wanted,
    kept_rows,
    looked_up,
    means_of,
    named_reference,
    prepare,
    side_of,
    source_of,
)
from lapwing_collector.app.contents import looks_of
from lapwing_collector.app.gate_lake import PRODUCTION, Seen
from lapwing_collector.app.mounting import Mount, Reference, Subject, mounted
from lapwing_collector.app.project import models_for
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.engine import identifier
from lapwing_collector.errors import ConfigError
from lapwing_collector.gate import ENOUGH, Report, Side, advise
from lapwing_collector.model.description import ModelDescription, Source, infer, merged

NOW: Final = "current"
THEN: Final = "reference"
BEFORE: Final = "before"

_COUNTED: Final = """
SELECT count(*) AS rows, count(label) AS labels, list_sort(list_distinct(list(version))) AS versions
FROM labeled.{table} WHERE time >= $since AND time < $until
"""


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
    named = named_reference(wanted.reference)
    with ExitStack() as parts:
        found = looked_up(settings, wanted, parts)
        means = means_of(declared, wanted, found, at)
        live = _window(wanted.data, found, wanted.model)
        references: list[Reference]
        if live is None:
            ready = prepare(declared, wanted, found, at)
            subject, references, told, notes = ready.subject, [*ready.references], ready.told, [*ready.notes]
            mounts = {NOW: parts.enter_context(mounted(subject, ready.candidate, references))}
            sides = [side_of(NOW, source_of(wanted.data), ready.candidate)]
        else:
            model = gate_lake.known_model(found, wanted.model)
            subject = Subject(wanted.model, model.table, means.description, model.binnings)
            references = gate_lake.references_of(model, named, (), at)
            told = _told(model, means.description)
            mounts, sides, notes = {NOW: live}, [_counted(model, NOW, str(wanted.data), live)], []
        kept = kept_rows(references, means)
        if kept is not None:
            mounts[THEN] = parts.enter_context(mounted(subject, kept[1], references))
            sides.append(side_of(THEN, kept[0], kept[1]))
        if wanted.against is not None:
            before = _window(wanted.against, found, wanted.model)
            if before is None:
                raise ConfigError(
                    "an earlier window of production is named as production:2026-01-01..2026-02-01"
                )
            mounts[BEFORE] = before
            model = gate_lake.known_model(found, wanted.model)
            sides.append(_counted(model, BEFORE, str(wanted.against), before))
        looks = looks_of(told, subject.table, mounts, traffic=live is not None, reference=named)
    return Report(
        model=wanted.model,
        made_at=at,
        sides=sides,
        sections=looks.sections,
        advice=advise(told, looks.answers, list(mounts), enough),
        notes=notes,
        lapwing=lapwing.__version__,
    )


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
