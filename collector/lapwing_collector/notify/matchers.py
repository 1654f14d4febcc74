"""Matchers: which alerts are meant, by their labels, as Alertmanager writes it. Pure."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

_ESCAPES: Final = {'"': '"', "\\": "\\", "n": "\n"}
_ONE: Final = re.compile(
    r"""\s*(?:"(?P<quoted_name>(?:[^"\\]|\\.)*)"|(?P<name>[^\s"=!~,{}]+))
        \s*(?P<op>=~|!~|!=|=)
        \s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<value>[^\s",{}][^",{}]*?)?)
        \s*(?:,|$)""",
    re.VERBOSE,
)
_PLAIN_NAME: Final = re.compile(r'[^\s"=!~,{}]+')
_EXPECTED: Final = 'a matcher such as severity="page" or model=~"churn.*"'


@dataclass(frozen=True, slots=True)
class Matcher:
    """What one label must be.

    Attributes:
        label: Its name. An alert without it has it empty.
        op: `=`, `!=`, `=~` or `!~`.
        value: A text, or a regular expression that must fit the whole label.
    """

    label: str
    op: str
    value: str
    _pattern: re.Pattern[str] | None = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Compile the expression.

        Raises:
            ValueError: It is none.
        """
        try:
            pattern = re.compile(self.value) if self.op.endswith("~") else None
        except re.error as error:
            raise ValueError(f"the regular expression {self.value!r} is wrong: {error}") from error
        object.__setattr__(self, "_pattern", pattern)

    def __str__(self) -> str:
        name = self.label if _PLAIN_NAME.fullmatch(self.label) else _quoted(self.label)
        return f"{name}{self.op}{_quoted(self.value)}"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an alert with `labels` is meant."""
        actual = labels.get(self.label, "")
        same = actual == self.value if self._pattern is None else self._pattern.fullmatch(actual) is not None
        return same is not self.op.startswith("!")


def match_all(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether all `matchers` mean an alert with `labels`; none means every alert."""
    return all(matcher.matches(labels) for matcher in matchers)


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """Read matchers: one, or several between commas, in braces or not.

    Raises:
        ValueError: They are none; the message says what was expected.
    """
    rest = text.strip()
    if rest.startswith("{"):
        if not rest.endswith("}"):
            raise ValueError(f"{_EXPECTED}: the brace in {text!r} is not closed")
        rest = rest[1:-1].strip()
    found = []
    while rest:
        match = _ONE.match(rest)
        if match is None or match["op"] is None:
            raise ValueError(f"{_EXPECTED}, not {text!r}")
        name = _unescaped(match["quoted_name"]) if match["name"] is None else match["name"]
        value = _unescaped(match["quoted"]) if match["quoted"] is not None else match["value"] or ""
        found.append(Matcher(name, match["op"], value))
        rest = rest[match.end() :]
    if not found:
        raise ValueError(f"{_EXPECTED}, not {text!r}")
    return tuple(found)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
