"""Checked by mypy, never run: `watch` keeps the types of what it decorates."""

from collections.abc import Callable, Coroutine
from typing import Any, assert_type

import lapwing


@lapwing.watch(model="m", version="1")
def predict(age: int, plan: str = "free") -> dict[str, float]:
    """Predict."""
    return {"score": float(age)}


@lapwing.watch(model="m")
async def predict_async(age: int) -> float:
    """Predict."""
    return float(age)


class Model:
    """Has a method."""

    @lapwing.watch(model="m")
    def predict(self, age: int) -> float:
        """Predict."""
        return float(age)


assert_type(predict(3), dict[str, float])
assert_type(predict(age=3, plan="pro"), dict[str, float])
assert_type(Model().predict(3), float)
coroutine: Callable[[int], Coroutine[Any, Any, float]] = predict_async
predict("3")  # type: ignore[arg-type]
assert_type(lapwing.log_prediction(model="m", inputs={"a": 1}, output=0.5), str)
assert_type(lapwing.flush(), bool)
assert_type(lapwing.stats().dropped["queue_full"], int)
