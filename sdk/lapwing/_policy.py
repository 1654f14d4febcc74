"""What is done to records before they are encoded: which are kept, and what must not leave the process."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from zlib import crc32

if TYPE_CHECKING:
    from lapwing.redact import Redactor

EVERY_MODEL: Final = "*"


@dataclass(frozen=True, slots=True)
class Policy:
    """Choices of `init` that concern every record.

    Attributes:
        redact: Takes out what must not leave; None where everything may.
        sample: Share of the predictions to record, by model; `*` stands for the models not named.
    """

    redact: "Redactor | None" = None
    sample: Mapping[str, float] = field(default_factory=dict)

    def rate(self, model: str) -> float:
        """Give the share of a model's predictions to record, 1 where nothing was said."""
        return self.sample.get(model, self.sample.get(EVERY_MODEL, 1.0)) if self.sample else 1.0


def weight_of(identity: object, rate: float) -> float:
    """Tell how many predictions a recorded one stands for, 0 where it is not to be recorded.

    It is the same for one identity in every process and service.

    Args:
        identity: The request id where there is one, so that the models of a request are kept together, else
            the prediction id.
        rate: Share to record, above 0 and up to 1.
    """
    if rate == 1.0:
        return 1.0
    return 1 / rate if crc32(str(identity).encode("utf-8", "surrogatepass")) < rate * 2**32 else 0.0


def read_rate(rate: object) -> float:
    """Read a share.

    Raises:
        ValueError: It is no number above 0 and up to 1.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate <= 1:
        raise ValueError(f"sample is a share of the predictions, above 0 and up to 1, not {rate!r}")
    return float(rate)
