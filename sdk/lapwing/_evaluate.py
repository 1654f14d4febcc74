"""Evaluations and reports from Python: what `lapwing evaluate` and `lapwing report` do, on tables at hand."""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from lapwing._connect import as_arrow

if TYPE_CHECKING:
    from lapwing_collector.app.gate.candidates import Wanted
    from lapwing_collector.gate import Check, Comparison
    from lapwing_collector.gate import Evaluation as _Evaluation
    from lapwing_collector.gate import Report as _Report

_Made = TypeVar("_Made")

_FRAME: Final = (
    '<iframe sandbox srcdoc="{}" style="width: 100%; height: 50rem; border: 0" title="{}"></iframe>'
)


class EvaluationError(Exception):
    """Something cannot be evaluated: a file is wrong, no rule is about the model, there is no reference."""


class NotPassedError(EvaluationError):
    """A candidate did not pass; the message says which rules stopped it."""


class Evaluation:
    """What became of a candidate: `evaluate` makes it. In a notebook, it is shown as a page."""

    def __init__(self, done: "_Evaluation") -> None:
        """Use `evaluate` instead."""
        self._done = done

    @property
    def passed(self) -> bool:
        """Whether the candidate may be released."""
        return self._done.passed

    @property
    def id(self) -> str:
        """What the run is called in the table `evaluations`, where it is kept."""
        return self._done.id

    @property
    def checks(self) -> "Sequence[Check]":
        """Every row that a rule judged, or a metric recorded."""
        return self._done.checks

    @property
    def comparisons(self) -> "Sequence[Comparison]":
        """The candidate beside production on the same rows, where that is known."""
        return self._done.comparisons

    def raise_for_verdict(self) -> None:
        """Go on only if the candidate passed.

        Raises:
            NotPassedError: It did not.
        """
        if not self.passed:
            raise NotPassedError(str(self))

    def as_dict(self) -> dict[str, Any]:
        """All of it, as `lapwing evaluate --json` writes it."""
        return self._done.as_json()

    def html(self) -> str:
        """A page that stands for itself."""
        from lapwing_collector.gate import evaluation_page  # noqa: PLC0415  # it is there: it made this

        return evaluation_page(self._done)

    def markdown(self) -> str:
        """A comment for a pull request."""
        from lapwing_collector.gate import markdown_of  # noqa: PLC0415

        return markdown_of(self._done)

    def junit(self) -> bytes:
        """JUnit XML, for CI systems."""
        from lapwing_collector.gate import junit_of  # noqa: PLC0415

        return junit_of(self._done)

    def __str__(self) -> str:
        from lapwing_collector.gate import text_of  # noqa: PLC0415

        return text_of(self._done)

    def __repr__(self) -> str:
        return f"<evaluation of {self._done.model}: {self._done.verdict}, {len(self.checks)} checks>"

    def _repr_html_(self) -> str:
        return _FRAME.format(html.escape(self.html(), quote=True), "evaluation")


class Report:
    """A look at some rows of a model: `report` makes it. In a notebook, it is shown as a page."""

    def __init__(self, made: "_Report") -> None:
        """Use `report` instead."""
        self._made = made

    @property
    def advice(self) -> str:
        """What to do: `fine`, `watch`, `unknown`, `fix_data`, `collect_labels` or `retrain`."""
        return "unknown" if self._made.advice is None else self._made.advice.state

    def as_dict(self) -> dict[str, Any]:
        """All of it, as `lapwing report --json` writes it."""
        return self._made.as_json()

    def html(self) -> str:
        """A page that stands for itself."""
        from lapwing_collector.gate import report_page  # noqa: PLC0415  # it is there: it made this

        return report_page(self._made)

    def __str__(self) -> str:
        from lapwing_collector.gate import report_text  # noqa: PLC0415

        return report_text(self._made)

    def __repr__(self) -> str:
        return f"<report on {self._made.model}: {self.advice}>"

    def _repr_html_(self) -> str:
        return _FRAME.format(html.escape(self.html(), quote=True), "report")


def evaluate(
    rules: "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]",
    data: Any,
    *,
    model: str,
    labels: Any = None,
    reference: Any = None,
    against: Any = None,
    version: str | None = None,
    only: Sequence[str] = (),
    skip: Sequence[str] = (),
    allow_insufficient: bool = False,
    columns: Mapping[str, str] | None = None,
    lake: str | os.PathLike[str] | None = None,
    token: str | None = None,
    keep: bool | None = None,
    config: str | os.PathLike[str] | None = None,
) -> Evaluation:
    """Judge a candidate by rules, before its release.

        run = lapwing.evaluate("rules.yaml", frame, model="churn", against=what_production_said)
        run.raise_for_verdict()

    Args:
        rules: Rule files, those that watch production among them.
        data: The candidate's predictions: a pandas or Polars DataFrame, an Arrow table, a file, or rows of
            the lake (`shadow:7d`, `reference:golden`).
        model: Whose candidate it is.
        labels: The truth, where `data` has none: a table or a file.
        reference: What drift and `reference_value` compare with: a table, a file, `NAME=FILE`, or a name.
        against: What `production_value` and pairs compare with: a table or a file of its predictions, or
            `production:7d`.
        version: The candidate's, where its rows do not tell.
        only: Rules to judge by; all by default.
        skip: Rules to leave out.
        allow_insufficient: Whether rules that cannot be judged are let pass.
        columns: Which columns are `time`, `key`, `label`, `prediction` and `score`.
        lake: A data directory, or the address of a collector; that of the settings if None.
        token: For a collector that asks for one.
        keep: Whether the run is kept in the lake; None where `lake` names one.
        config: The settings file; `lapwing.yaml` of this folder, if there is one.

    Raises:
        EvaluationError: It cannot be evaluated.
        ModuleNotFoundError: The collector is not installed; the message says how.
    """
    files = [rules] if isinstance(rules, (str, os.PathLike)) else rules

    def work() -> Evaluation:
        from lapwing_collector.app.gate.gating import evaluate as done  # noqa: PLC0415  # heavy, and may be missing

        wanted = _wanted(
            model=model,
            data=_rows(data),
            rules=[Path(each) for each in files],
            labels=_file_or_rows(labels),
            reference=_rows(reference),
            against=_rows(against),
            columns=columns or {},
            version=version,
            only=only,
            skip=skip,
            allow_insufficient=allow_insufficient,
            lake=None if lake is None else os.fspath(lake),
            token=token,
            keep=keep,
        )
        return Evaluation(done(None if config is None else Path(config), wanted))

    return _told(work)


def report(
    current: Any,
    reference: Any = None,
    *,
    model: str = "model",
    labels: Any = None,
    before: str | None = None,
    columns: Mapping[str, str] | None = None,
    lake: str | os.PathLike[str] | None = None,
    token: str | None = None,
    enough: int | None = None,
    config: str | os.PathLike[str] | None = None,
) -> Report:
    """Look at rows of a model: quality, drift, its data, and whether to retrain it. No collector has to run.

        lapwing.report(this_week, training_data)
        lapwing.report("production:7d", model="churn", lake="lapwing-data")

    Args:
        current: A pandas or Polars DataFrame, an Arrow table, a file, or `production:7d` of a lake.
        reference: What it is compared with: a table, a file, or the name of a reference of the lake.
        model: Whose rows they are.
        labels: The truth, where `current` has none: a table or a file.
        before: An earlier window of production, `2026-01-01..2026-02-01`.
        columns: Which columns are `time`, `key`, `label`, `prediction` and `score`.
        lake: A data directory, or the address of a collector; that of the settings if None.
        token: For a collector that asks for one.
        enough: Labelled rows that are worth to learn from; 1 000 by default.
        config: The settings file; `lapwing.yaml` of this folder, if there is one.

    Raises:
        EvaluationError: It cannot be made.
        ModuleNotFoundError: The collector is not installed; the message says how.
    """

    def work() -> Report:
        from lapwing_collector.app.gate.reporting import report as made  # noqa: PLC0415  # heavy, and may be missing

        wanted = _wanted(
            model=model,
            data=_rows(current),
            labels=_file_or_rows(labels),
            reference=_rows(reference),
            against=None if before is None else f"production:{before}",
            columns=columns or {},
            lake=None if lake is None else os.fspath(lake),
            token=token,
        )
        more = {} if enough is None else {"enough": enough}
        return Report(made(None if config is None else Path(config), wanted, **more))

    return _told(work)


def _told(work: Callable[[], _Made]) -> _Made:
    """What `work` makes, its errors as those of this package."""
    try:
        from lapwing_collector.errors import LapwingError  # noqa: PLC0415  # may be missing
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"evaluations need the collector: pip install 'lapwing[collector]' ({missing})", name=missing.name
        ) from missing
    try:
        return work()
    except LapwingError as error:
        raise EvaluationError(str(error)) from error


def _wanted(*, columns: Mapping[str, str], **wanted: Any) -> "Wanted":
    from lapwing_collector.app.gate.candidates import Wanted  # noqa: PLC0415  # heavy, and may be missing
    from lapwing_collector.app.gate.tabled import Columns  # noqa: PLC0415

    try:
        said = Columns(**columns)
    except TypeError as error:
        raise EvaluationError(
            f"columns: expected time, key, label, prediction and score, not {', '.join(columns)}"
        ) from error
    return Wanted(columns=said, **wanted)


def _rows(data: Any) -> Any:
    """A text or a table as the collector takes them."""
    if data is None or isinstance(data, (str, os.PathLike)):
        return data if data is None else os.fspath(data)
    return as_arrow(data)


def _file_or_rows(data: Any) -> Any:
    rows = _rows(data)
    return Path(rows) if isinstance(rows, str) else rows
