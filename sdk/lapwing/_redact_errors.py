"""What rules took out of a record must not be repeated by its error, which often quotes what it was given."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, time
from typing import Any, Final

from lapwing._values import plain

MASK: Final = "***"
SINGLE: Final = frozenset((type(None), bool, int, float, str, bytes))
"""Classes of values that hold no others."""

MANY: Final = 10_000
"""Values taken out of one record that its error is searched for; where there are more, it is withheld."""
EFFORT: Final = 100_000
"""Searches in the errors of a table, at most: forms of values times texts."""
SHORT: Final = 4
"""Characters below which a text counts only where it stands alone, as a word."""
WITHHELD: Final = "<withheld: too much was redacted to search this text for it>"

_SPECIAL: Final = re.compile(r"""[^ -~]|["'\\]""")
"""Characters that change when a text is quoted."""
_WORDS: Final = frozenset(("True", "False"))


class Taken:
    """Values that rules took out of a record; only looked at if there is an error."""

    __slots__ = ("_columns", "_names", "_too_many", "_values")

    def __init__(self) -> None:
        self._values: list[Any] = []
        self._names: list[str] = []
        self._columns: list[Any] = []
        self._too_many = False

    def __bool__(self) -> bool:
        return bool(self._values or self._names or self._columns or self._too_many)

    def add(self, value: object) -> None:
        """Note a value and all that it holds, now: later it may have been changed."""
        if type(value) in SINGLE:
            self._values.append(value)
            return
        waiting = [value]
        for _ in range(MANY):
            self._add_level(waiting.pop(), waiting)
            if not waiting or len(waiting) + len(self._values) > MANY:
                break
        self._too_many |= bool(waiting) or len(self._values) > MANY

    def add_column(self, column: Any) -> None:
        """Note an Arrow array, which nobody can change."""
        self._columns.append(column)

    def hide(self, texts: Sequence[str]) -> list[str]:
        """Put `***` where texts repeat what was taken: as it was, or as Python or JSON would quote it."""
        while self._columns and not self._too_many:
            self._add_values_of(self._columns.pop())
        forms = {} if self._too_many else self._forms()
        if self._too_many or len(forms) * len(texts) > EFFORT:
            return [WITHHELD] * len(texts)
        found = [form for form in forms if any(form in text for text in texts)]
        if not found:
            return list(texts)
        found.sort(key=len, reverse=True)  # of two that begin alike the longer one
        pattern = re.compile("|".join(_alone(form) if forms[form] else re.escape(form) for form in found))
        return [pattern.sub(MASK, text) for text in texts]

    def _add_values_of(self, column: Any) -> None:
        with suppress(NotImplementedError):  # Arrow's way to say that it cannot compare values of a type
            column = column.unique()
        if len(column) > MANY:
            self._too_many = True
        else:
            self.add(column)

    def _add_level(self, value: Any, waiting: list[Any]) -> None:
        if is_numbers(value) and value.nbytes > MANY:
            return  # pixels and the like: slow to list, and no person's name
        value = plain(value)
        if type(value) is dict:
            self._names += [str(key) for key in value]
            waiting += value.values()
        elif type(value) is list:
            for item in value:
                (self._values if type(item) in SINGLE else waiting).append(item)
        else:
            self._values.append(value)

    def _forms(self) -> dict[str, bool]:
        """Give the texts to search for, and whether each counts only where it stands alone."""
        forms = dict.fromkeys(self._names, True)
        for value in self._values:
            forms |= {form: len(form) < SHORT or form in _WORDS for form in _written(value)}
        return {form: alone for form, alone in forms.items() if form.strip()}


def is_numbers(value: object) -> bool:
    """Tell whether a value is an array or tensor of numbers, in which no text can be."""
    library = type(value).__module__.partition(".")[0]
    if library == "numpy":
        return getattr(getattr(value, "dtype", None), "kind", "") in "biufc"
    return library == "torch" and hasattr(value, "detach")


def _written(value: object) -> Iterator[str]:
    """Give the ways in which a value may be written."""
    if isinstance(value, bytes):
        yield from _quoted(repr(value)[2:-1])
        value = value.decode(errors="replace")
    if isinstance(value, str):
        yield from _quoted(value)
        yield from _quoted(value.strip())
        yield from (line for line in value.splitlines() if len(line) >= SHORT)  # a trace may indent each
        for kind in (date, datetime, time):  # these came as ISO 8601 text
            with suppress(ValueError):
                moment = kind.fromisoformat(value)
                yield from (str(moment), repr(moment))
    elif value is not None:
        yield str(value)
        if isinstance(value, float) and value.is_integer():
            yield str(int(value))


def _quoted(text: str) -> set[str]:
    """Give a text and what stands between the quotes if it is quoted, and quoted again, as KeyError does."""
    if not _SPECIAL.search(text):
        return {text}
    once = _quoted_once(text)
    return {text, *once}.union(*map(_quoted_once, once))


def _quoted_once(text: str) -> set[str]:
    single = repr('"' + text)[2:-1]  # a double quote inside makes Python take single ones
    double = single.replace("\\'", "'")
    return {single, double, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}


def _alone(form: str) -> str:
    return rf"(?<!\w){re.escape(form)}(?!\w)"
