"""Two models on the same rows: which metrics of pairs tell of which task, and what they gave."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from lapwing_collector.gate.values import Comparison
from lapwing_collector.model.description import ModelDescription, Task


@dataclass(frozen=True, slots=True)
class Paired:
    """A metric of pairs, as an evaluation asks for it.

    Attributes:
        metric: Its name in the library.
        arguments: Further ones, as SQL.
        what: What it compares, for people.
        better: Whether more of it is better, or less.
    """

    metric: str
    what: str
    better: Literal["more", "less"]
    arguments: str = ""

    def sql(self, model: str) -> str:
        """The query over a lake that has the champion in production, and the candidate beside it.

        Args:
            model: The name of the model's tables, quoted as a text.
        """
        return (
            f"FROM {self.metric}({model}, $window_start, $window_end, challenger_stage := 'candidate'"
            f"{self.arguments})"
        )

    def compared(self, row: Mapping[str, Any]) -> Comparison:
        """What its row says."""
        return Comparison(
            metric=self.metric,
            what=self.what,
            better=self.better,
            champion=row["champion"],
            challenger=row["challenger"],
            difference=row["value"],
            low=row["low"],
            high=row["high"],
            p_value=row.get("p_value"),
            sample_count=row["sample_count"],
        )

    def without(self, problem: str) -> Comparison:
        """That there is nothing to say, and why."""
        return Comparison(self.metric, self.what, self.better, problem=problem)


_PREDICTED: Final = (
    Paired("shadow_accuracy_difference", "accuracy", "more"),
    Paired("shadow_class_difference", "F1", "more"),
    Paired("shadow_class_difference", "precision", "more", ", measure := 'precision'"),
    Paired("shadow_class_difference", "recall", "more", ", measure := 'recall'"),
)
_SCORED: Final = (
    Paired("shadow_auc_difference", "ROC-AUC", "more"),
    Paired("shadow_pr_auc_difference", "average precision", "more"),
    Paired("shadow_loss_difference", "Brier score", "less"),
    Paired("shadow_loss_difference", "log loss", "less", ", loss := 'log'"),
)
_ERRORS: Final = (
    Paired("shadow_error_difference", "mean absolute error", "less"),
    Paired("shadow_error_difference", "mean squared error", "less", ", error := 'squared'"),
    Paired("shadow_fit_difference", "root mean squared error", "less"),
    Paired("shadow_fit_difference", "R²", "more", ", measure := 'r2'"),
)


def paired_metrics(told: ModelDescription) -> tuple[Paired, ...]:
    """The metrics by which two models of this kind are compared on the same rows."""
    if told.task is Task.REGRESSION:
        return _ERRORS
    if told.task is not Task.CLASSIFICATION:
        return ()
    predicted = told.prediction is not None or None not in (told.score, told.threshold)
    found: tuple[Paired, ...] = _PREDICTED if predicted else ()
    if told.score is not None and told.positive_class is not None:
        found += _SCORED
    return found
