r"""Rules for what must not leave the process: every field passes them before it is encoded.

    import os
    import lapwing
    from lapwing import redact

    lapwing.init(
        redact=[
            redact.drop("inputs.ssn", "inputs.*.email"),
            redact.hash("tags.user", salt=os.environ["REDACTION_SALT"]),
            redact.mask(matching=redact.EMAIL),
        ]
    )

A rule names fields by patterns, with the names that columns have: `inputs.age`, `output.score`, `tags.plan`,
`label`, `error_message`, `resource.host.name`. A pattern covers all that is below what it names; `*` stands
for any characters of one name, `**` for any number of names, and capitals do not count. Items of a list have
the path of their list. No pattern means everything. `docs/redaction.md` has the rest.
"""

import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from lapwing._redact_errors import MASK, SINGLE
from lapwing._redactor import DROP, EVERYTHING, Place, RecordRedactor, Redactor, Rule
from lapwing._values import plain

__all__ = [
    "CREDIT_CARD",
    "DROP",
    "EMAIL",
    "IBAN",
    "IPV4",
    "US_SSN",
    "Place",
    "RecordRedactor",
    "Redactor",
    "Rule",
    "allow",
    "custom",
    "drop",
    "hash",
    "mask",
    "truncate",
]

Single = str | int | float | bool | None
Matching = str | re.Pattern[str]

FIELDS: Final = (
    *("inputs", "output", "tags", "label", "prediction_id", "request_id", "model", "version", "variant"),
    *("upstream", "source", "error_type", "error_message", "error_stacktrace", "resource"),
)
"""What a path begins with."""

FREE_FIELDS: Final = ("inputs", "output", "tags", "label", "extra")
"""What holds fields of the users' own choice, of which `allow` keeps the listed ones. (Only the collector has
`extra`: what other senders put beside the rest.)"""

EMAIL: Final = re.compile(r"(?<![\w.%+-])[\w.%+-]++@[\w-]+(?:\.[\w-]+)+")
"""Mail addresses as they are commonly written: no quoted local parts, no host names without a dot."""
CREDIT_CARD: Final = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
"""13 to 19 digits, also in groups. The check digit is not verified: other long numbers match, too."""
IBAN: Final = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.IGNORECASE)
"""International bank account numbers. Neither the country nor the check digits are verified."""
IPV4: Final = re.compile(
    r"(?<!\d)(?<!\d\.)(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?!\d|\.\d)"
)
"""Addresses in dotted decimals. Version numbers of four parts look alike."""
US_SSN: Final = re.compile(r"(?<![\d-])\d{3}([- ])\d{2}\1\d{4}(?![\d-])")
"""US social security numbers in groups of 3, 2 and 4 digits; nine digits in a row are not recognised."""


def drop(*paths: str, matching: Matching | None = None) -> Rule:
    """Leave fields out.

    Args:
        paths: Patterns of the fields; none for all of them.
        matching: A regular expression: the parts of texts that it matches are cut out instead.

    Raises:
        ValueError: A path can name no field, or the expression is none.
    """
    text = _written("drop", paths, matching)
    if matching is not None:
        return Rule(text, check_paths(paths), lambda _path, _match: "", _expression(matching))
    return Rule(text, check_paths(paths), lambda _path, _value: DROP, whole=(dict, list), constant=True)


def mask(*paths: str, with_: Single = MASK, matching: Matching | None = None) -> Rule:
    """Put a constant in the place of values; a null stays null.

    Args:
        paths: Patterns of the fields; none for all of them.
        with_: The constant; for a column of numbers best a number.
        matching: A regular expression: only the parts of texts that it matches are replaced.

    Raises:
        TypeError: The constant is no single value; with `matching`, no text.
        ValueError: A path can name no field, or the expression is none.
    """
    text = _written("mask", paths, matching)
    if matching is not None:
        if not isinstance(with_, str):
            raise TypeError(f"{text}: with_ is text where parts of texts are replaced, not {with_!r}")
        return Rule(text, check_paths(paths), lambda _path, _match: with_, _expression(matching))
    if type(with_) not in SINGLE:
        raise TypeError(f"{text}: with_ is text, a number, a bool or None, not {type(with_).__name__}")

    def change(_path: str, value: object) -> object:
        return None if value is None else with_

    return Rule(text, check_paths(paths), change, whole=(dict, list), constant=True)


def hash(*paths: str, salt: str | bytes, matching: Matching | None = None) -> Rule:  # noqa: A001  # as the others
    """Put salted hashes in the place of values: equal ones have equal hashes, so joins and groups still work.

    A hash is the first 16 bytes of HMAC-SHA-256 over the value's text, 32 hexadecimal digits; the salt is the
    key. The number 31, the number 31.0 and the text "31" hash alike. Items of a list are hashed one by one, a
    map as a whole, a null stays null.

    Args:
        paths: Patterns of the fields; none for all of them.
        salt: A secret, best 16 random bytes or more: who knows it can find short values by trying.
        matching: A regular expression: only the parts of texts that it matches are hashed.

    Raises:
        TypeError: The salt is neither text nor bytes.
        ValueError: The salt is empty, a path can name no field, or the expression is none.
    """
    text = _written("hash", paths, matching)
    if not isinstance(salt, str | bytes):
        raise TypeError(f"{text}: salt is text or bytes, not {type(salt).__name__}")
    if not salt:
        raise ValueError(f"{text}: salt is empty; without a secret, hashes of names can be looked up")
    key = salt.encode() if isinstance(salt, str) else salt

    def change(_path: str, value: object) -> object:
        return None if value is None else hmac.digest(key, _hashed(value), "sha256")[:16].hex()

    if matching is not None:
        return Rule(text, check_paths(paths), change, _expression(matching))
    return Rule(text, check_paths(paths), change, whole=(dict,))


def truncate(*paths: str, length: int) -> Rule:
    """Keep the beginning of texts and bytes.

    Args:
        paths: Patterns of the fields; none for all of them.
        length: Characters, or bytes, to keep.

    Raises:
        ValueError: The length is no whole number, 0 or more, or a path can name no field.
    """
    text = _written("truncate", paths)
    if type(length) is not int or length < 0:
        raise ValueError(f"{text}: length is a whole number, 0 or more, not {length!r}")

    def change(_path: str, value: object) -> object:
        return value[:length] if isinstance(value, str | bytes) and len(value) > length else value

    return Rule(text, check_paths(paths), change)


def custom(function: Callable[[str, Any], object], *paths: str) -> Rule:
    """Put what a function gives in the place of values.

    Args:
        function: Called as `function(path, value)` with single values (bool, int, float, str, bytes), those
            in lists and maps included, but no nulls; in tables once per distinct value. Gives a single value,
            or `redact.DROP` to leave it out. Where it raises, the value becomes `<redaction failed>`. It is
            called from several threads.
        paths: Patterns of the fields; none for all of them.

    Raises:
        TypeError: The function cannot be called.
        ValueError: A path can name no field.
    """
    if not callable(function):
        raise TypeError(f"redact.custom takes a function(path, value) first, not {function!r}")

    def change(path: str, value: object) -> object:
        return None if value is None else function(path, value)

    name = getattr(function, "__qualname__", type(function).__qualname__)
    return Rule(_written("custom", paths, function=name), check_paths(paths), change)


def allow(*paths: str) -> Rule:
    """Keep the fields listed, with all that is below them; any other input, output, tag or label is left out.

    Ids, version, errors and the sender's resource are no matter of lists: other rules cover them.

    Args:
        paths: Patterns of the fields.

    Raises:
        ValueError: There is no path, or one that can name no input, output, tag or label.
    """
    text = _written("allow", paths)
    if not paths:
        raise ValueError(f"{text}: name the fields that are kept")
    return Rule(
        text,
        check_paths(paths, FREE_FIELDS),
        lambda _path, _value: DROP,
        whole=(dict, list),
        constant=True,
        outside=FREE_FIELDS,
    )


def _written(
    name: str, paths: tuple[str, ...], matching: Matching | None = None, function: str | None = None
) -> str:
    """Write a rule as it would be called, without secrets."""
    arguments = [repr(path) for path in paths]
    if function is not None:
        arguments.insert(0, function)
    if matching is not None:
        arguments.append(f"matching={getattr(matching, 'pattern', matching)!r}")
    return f"redact.{name}({', '.join(arguments)})"


def check_paths(paths: tuple[str, ...], fields: tuple[str, ...] = FIELDS) -> tuple[str, ...]:
    """Give back paths, or that of everything where there is none.

    Raises:
        ValueError: One is no path, or begins with none of the `fields`.
    """
    for path in paths:
        if not isinstance(path, str) or not path:
            raise ValueError(f"a path to redact is text such as 'inputs.age', not {path!r}")
        names = path.split(".")
        if "" in names:
            raise ValueError(f"the path {path!r} to redact has an empty name")
        if any("**" in name and name != "**" for name in names):
            raise ValueError(
                f"in the path {path!r} to redact, ** stands for whole names, as in 'inputs.**.age'"
            )
        first = re.compile(".*".join(map(re.escape, names[0].split("*"))), re.IGNORECASE)
        if not any(first.fullmatch(field) for field in fields):
            raise ValueError(
                f"the path {path!r} to redact names no field: paths begin with {', '.join(fields)};"
                f" for an input, 'inputs.{path}'"
            )
    return paths or EVERYTHING


def _expression(matching: Matching) -> re.Pattern[str]:
    try:
        expression = re.compile(matching)
    except re.error as error:
        raise ValueError(f"matching={matching!r} is no regular expression: {error}") from error
    if not isinstance(expression.pattern, str):
        raise TypeError(f"matching={matching!r} is a regular expression for bytes; give one for text")
    return expression


def _hashed(value: object) -> bytes:
    """Give what is hashed of a value; of a map its JSON, keys in order."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, Mapping):
        value = json.dumps(_as_text(value), sort_keys=True, ensure_ascii=False)
    return str(_as_text(value)).encode("utf-8", "surrogatepass")


def _as_text(value: object) -> Any:
    """Give a value with the text of each single value in it; equal numbers have one text."""
    value = plain(value)
    if isinstance(value, dict):
        return {str(key): _as_text(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_text(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value)
