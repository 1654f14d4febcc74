"""The names that users import, and the errors that people see."""

import inspect
import re
from types import ModuleType

import pytest

import lapwing
import lapwing.semconv
import lapwing.testing
from lapwing_collector import errors


def public_members(module: ModuleType) -> dict[str, object]:
    """What a module offers: names without an underscore, modules left out."""
    return {
        name: value
        for name, value in vars(module).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }


def test_all_is_sorted_and_whole() -> None:
    """`lapwing.__all__` is sorted and holds the version and every public name, but no other."""
    assert list(lapwing.__all__) == sorted(lapwing.__all__)
    assert set(lapwing.__all__) == {*public_members(lapwing), "__version__"}


@pytest.mark.parametrize("module", [lapwing, lapwing.testing, lapwing.semconv], ids=lambda m: m.__name__)
def test_everything_public_is_documented(module: ModuleType) -> None:
    """Public modules, their functions and classes, and the methods of these have docstrings of their own."""
    offered = {
        name: value
        for name, value in public_members(module).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__.startswith("lapwing.")
    }
    methods = {
        f"{name}.{key}": value
        for name, owner in offered.items()
        if inspect.isclass(owner)
        for key, value in vars(owner).items()
        if not key.startswith("_") and (inspect.isfunction(value) or isinstance(value, property))
    }
    assert module.__doc__
    assert [name for name, value in (offered | methods).items() if not value.__doc__] == []


def test_the_tree_of_errors_is_the_one_drawn() -> None:
    """The docstring of `errors` draws every class below the class that it extends."""
    drawn: dict[str, str] = {}
    above: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"[ │├└─]+(\w+Error)\b", line):
            column = found.start(1)
            drawn[found[1]] = above.get(column - 4, "Exception")
            above[column] = found[1]
    classes = [value for value in public_members(errors).values() if inspect.isclass(value)]
    assert drawn == {value.__name__: value.__base__.__name__ for value in classes if value.__base__}
