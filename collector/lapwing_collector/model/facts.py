"""What a sample of a model's rows shows of its fields, beyond their types."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self


@dataclass(frozen=True, slots=True)
class FieldFacts:
    """What the values of one field look like.

    Attributes:
        values: How many there are, nulls left out.
        distinct: How many different ones.
        words: Words in a text, on average; None for other values.
        times: Share of texts that are times; None for other values.
        least: The least number; None for other values.
        greatest: The greatest number, likewise.
        classes: All different values as SQL writes them, where they are few; else empty.
    """

    values: int
    distinct: int
    words: float | None = None
    times: float | None = None
    least: float | None = None
    greatest: float | None = None
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Facts:
    """What a sample shows.

    Attributes:
        fields: By dotted name.
        label_delay_s: Within how many seconds of their prediction most labels come.
        predictions: Rows that the model had when the sample was taken.
        labels: Likewise.
    """

    fields: Mapping[str, FieldFacts] = field(default_factory=dict)
    label_delay_s: float | None = None
    predictions: int = 0
    labels: int = 0

    def to_json(self) -> str:
        """Write them down."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote.

        Raises:
            ValueError: It is nothing of the kind.
        """
        try:
            read = json.loads(text)
            fields = {
                name: FieldFacts(**{**each, "classes": tuple(each["classes"])})
                for name, each in read.pop("fields").items()
            }
            return cls(fields=fields, **read)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"these are no facts: {error}") from error
