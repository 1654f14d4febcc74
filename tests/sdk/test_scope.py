"""Annotations where a prediction is not recorded."""

import contextlib

import pytest

import lapwing
from lapwing.testing import capture


@pytest.mark.parametrize("stop", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_annotations_end_with_a_call_that_is_stopped(stop: type[BaseException]) -> None:
    """What a stopped call said of itself is not said of the one around it, which keeps its own."""

    @lapwing.watch(model="inner")
    def inner() -> None:
        lapwing.annotate(variant="inner")
        raise stop

    @lapwing.watch(model="outer")
    def outer(annotates: bool) -> None:
        if annotates:
            lapwing.annotate(variant="outer")
        with contextlib.suppress(stop):
            inner()

    with capture() as kept:
        outer(annotates=False)
        outer(annotates=True)
    variants = [record.attributes.get("ml.model.variant") for record in kept.predictions]
    assert variants == [None, "outer"]
