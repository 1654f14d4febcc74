"""The machine behind `lapwing.redact`: finds the rules for every place in a record, and applies them.

A place is a path such as `inputs.user.email`. Which rules concern it is found out once and kept: where none
does, a field costs one look-up. Values are turned by `plain` before they are looked at, so that no class
hides what it holds; where no rule can apply, they are left as they are.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from lapwing._encode import MAX_DEPTH
from lapwing._redact_errors import MASK, SINGLE, Taken, is_numbers
from lapwing._values import plain

if TYPE_CHECKING:
    import pyarrow as pa

FAILED: Final = "<redaction failed>"
"""Stands for a value that could not be redacted."""
KEPT_PLACES: Final = 4096
KEPT_NAME: Final = 100
"""Characters of a name that is worth remembering."""

ERROR_FIELDS: Final = ("error_type", "error_message", "error_stacktrace")
REQUIRED: Final = ("model",)
_UNTOUCHED: Final = {
    *("stage", "fallback", "time", "prediction_time", "duration_ms", "weight", "trace_id", "span_id"),
    "resource\0lapwing.process.id",
}
"""What the SDK itself makes. Without the process's id, which is random, records would count as repeated."""

EVERYTHING: Final = ("**",)
_SEPARATOR: Final = "[\0.]"  # between names, or the dot in one: `resource.service.name` has but two names
_NUMBERS: Final = (int, float, bool)


class Drop:
    """The class of `DROP`."""

    def __repr__(self) -> str:
        return "redact.DROP"


DROP: Final = Drop()
"""What a rule gives to leave a value out."""


@dataclass(frozen=True, slots=True, repr=False)
class Rule:
    """What is done to which values.

    Attributes:
        text: The rule as it was written, without its secrets.
        paths: Patterns of the places that it covers, with all that is below them.
        change: Given the path and a value, gives what stands in its place.
        matching: Where given, `change` is for the parts of texts that match, not for values.
        whole: The containers that are changed as one value; others are looked into.
        constant: `change` gives the same whatever it finds.
        outside: Where given, the rule covers instead what is in these fields and not covered by `paths`.
    """

    text: str
    paths: tuple[str, ...]
    change: Callable[[str, Any], object]
    matching: re.Pattern[str] | None = None
    whole: tuple[type, ...] = ()
    constant: bool = False
    outside: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return self.text


class Place(dict[str, "Place"]):
    """A path and the rules that concern it; its items are the places one name below, made when asked for.

    Attributes:
        path: Its names, with NUL between them; empty for the record itself.
        name: The path as people write it.
        rules: Those for the values here, in order.
        deeper: Whether there are rules for places below that do not concern this one.
        searches: Those for texts, where the name of this place is one that they would change.
        numbers: Whether numbers are concerned, too.
        live: Whether there is anything to do here or below.
    """

    __slots__ = ("_below", "deeper", "live", "name", "numbers", "path", "rules", "searches")

    def __init__(
        self,
        path: str,
        rules: tuple[Rule, ...],
        *,
        live: bool,
        deeper: bool = False,
        below: Callable[["Place", str], "Place"],
    ) -> None:
        super().__init__()
        self.deeper = deeper
        self._below = below
        self.path = path
        self.name = path.replace("\0", ".")
        last = path.rpartition("\0")[2]
        searches = tuple(rule for rule in rules if rule.matching is not None)
        self.searches = searches if any(_finds(rule, last) for rule in searches) else ()
        self.rules = _effective(rules)
        self.numbers = any(rule.matching is None for rule in rules)
        self.live = live

    def __missing__(self, name: str) -> "Place":
        return self._below(self, name)


class Redactor:
    """Rules, compiled. One serves all threads.

    Attributes:
        failures: Values that stand as `<redaction failed>`.
    """

    def __init__(self, rules: Iterable[Rule], tell: Callable[[str], None]) -> None:
        """Compile rules.

        Args:
            rules: Made by the functions of `lapwing.redact`, applied in this order.
            tell: Told of each kind of failure once, without any value.

        Raises:
            TypeError: Something else than a rule was given.
        """
        self._rules = tuple(part for rule in map(_checked, rules) for part in _parts(rule))
        self._tell = tell
        self._told: set[str] = set()
        self._lock = Lock()
        self._kept = 0
        self.failures = 0
        self.root = Place("", (), live=True, below=self._place)

    def record(self) -> "RecordRedactor":
        """Start on a record: what is taken out of its fields is taken out of its error, too."""
        return RecordRedactor(self)

    def fields(self, section: str, values: Mapping[str, object]) -> Mapping[str, object]:
        """Redact fields that are a record of their own, see `RecordRedactor.fields`."""
        return self.record().fields(section, values)

    def failed(self, what: str, error: Exception) -> None:
        """Count a failure, and tell of it if it is the first of its kind."""
        told = f"{what} failed with {type(error).__name__}: what it was to change is sent as {FAILED!r}"
        with self._lock:
            self.failures += 1
            if told in self._told:
                return
            self._told.add(told)
        self._tell(told)

    def _place(self, above: Place, name: str) -> Place:
        """Find the rules for a place, and remember them."""
        names = name.replace("\0", ".")  # else a name could pass for two
        path = f"{above.path}\0{names}" if above.path else names
        known = () if path in _UNTOUCHED else self._rules
        rules = tuple(rule for rule, covers, _ in known if covers.fullmatch(path))
        live = bool(rules) or any(toward.fullmatch(path) for _, _, toward in known)
        deeper = any(toward.fullmatch(path) and not covers.fullmatch(path) for _, covers, toward in known)
        place = Place(path, rules, live=live, deeper=deeper, below=self._place)
        if len(name) <= KEPT_NAME:
            if self._kept >= KEPT_PLACES:
                self._kept = 0
                self.root.clear()
            self._kept += 1
            above[name] = place
        return place


class RecordRedactor:
    """Redacts one record, in one thread."""

    __slots__ = ("_redactor", "taken")

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self.taken = Taken()

    def fields(self, section: str, values: Mapping[str, object]) -> Mapping[str, object]:
        """Redact fields; those of the error last, when it is known what must not be repeated in it.

        Args:
            section: `inputs`, `output`, `tags` or `resource`; empty for the fields of the record itself, such
                as `label` and `error_message`.
            values: By name.

        Returns:
            The fields that are left; the very same object where nothing was to be done.
        """
        if not section:
            return self._record_fields(values)
        place = self._redactor.root[section]
        return self._entries(place, values, 0) if place.live else values

    def table(self, section: str, columns: Mapping[str, "pa.Array"]) -> Mapping[str, "pa.Array"]:
        """Redact columns, as `fields` does values; in a column, what is dropped from some rows is null."""
        from lapwing._redact_table import redact_columns  # noqa: PLC0415  # brings pyarrow, only for tables

        return redact_columns(self, self._redactor.root, section, columns)

    def value(self, place: Place, value: object, depth: int = 0) -> object:
        """Redact a value: gives what stands in its place, or DROP. Never raises."""
        if not place.live:
            return value
        try:
            if type(value) not in SINGLE:
                if is_numbers(value):  # often many, and not worth listing where nothing is done to each
                    if not place.numbers:
                        return value
                    if place.rules[0].constant:
                        return self.apply(place, place.rules, value)
                value = plain(value)
            if type(value) is dict or type(value) is list:
                return self._container(place, value, depth)
            return self.apply(place, place.rules, value)
        except Exception as error:  # noqa: BLE001  # a value's own methods may raise anything
            return self.fail("redaction of a value", error)

    def apply(self, place: Place, rules: tuple[Rule, ...], value: object) -> object:
        """Apply rules to a value as a whole, one after the other."""
        for rule in rules:
            try:
                if rule.matching is None:
                    changed = _single(rule.change(place.name, value))
                else:
                    changed = self._without_matches(rule, place, value)
            except Exception as error:  # noqa: BLE001  # a custom function may raise anything
                self.taken.add(value)
                return self.fail(rule.text, error)
            if changed is not value and rule.matching is None:
                self.taken.add(value)
            if changed is DROP:
                return DROP
            value = changed
        return value

    def rename(self, place: Place, name: str, others: Mapping[str, object]) -> str:
        """Redact the name of a place, which stays different from those of others."""
        for rule in place.searches:
            name = str(self._without_matches(rule, place, name))
        name = name or MASK
        if name not in others:
            return name
        numbered = (f"{name}~{number}" for number in count(len(others) + 1))
        return next(found for found in numbered if found not in others)

    def fail(self, what: str, error: Exception) -> str:
        """Count a failure; gives what stands for the value."""
        self._redactor.failed(what, error)
        return FAILED

    def _record_fields(self, values: Mapping[str, object]) -> dict[str, object]:
        kept = {}
        for name in sorted(values, key=ERROR_FIELDS.__contains__):
            value = values[name]
            if name in ERROR_FIELDS and value is not None and self.taken:
                value = self.taken.hide([str(plain(value))])[0]
            value = self.value(self._redactor.root[name], value)
            if name in REQUIRED and (value is DROP or value is None or value == ""):
                value = MASK
            if value is not DROP:
                kept[name] = value
        return kept

    def _container(self, place: Place, value: Any, depth: int) -> object:
        for position, rule in enumerate(place.rules):
            if type(value) in rule.whole:
                return self.apply(place, place.rules[position:], value)
        if depth > MAX_DEPTH:
            raise RecursionError(f"more than {MAX_DEPTH} levels")
        return self._entries(place, value, depth) if type(value) is dict else self._items(place, value, depth)

    def _entries(self, place: Place, values: Mapping[Any, object], depth: int) -> dict[str, object]:
        kept: dict[str, object] = {}
        for key, value in values.items():
            name = key if type(key) is str else str(key)
            below = place[name]
            if below.live:
                value = self.value(below, value, depth + 1)  # noqa: PLW2901  # from here on it is redacted
                if value is DROP:
                    continue
            if below.searches or name in kept:
                name = self.rename(below, name, kept)
            kept[name] = value
        return kept

    def _items(self, place: Place, values: list[object], depth: int) -> list[object]:
        """Redact the items of a list; what is dropped is null, so that the others keep their positions."""
        kept = []
        for value in values:
            if type(value) in _NUMBERS and not place.numbers:
                kept.append(value)
                continue
            changed = self.value(place, value, depth + 1)
            kept.append(None if changed is DROP else changed)
        return kept

    def _without_matches(self, rule: Rule, place: Place, value: Any) -> object:
        if isinstance(value, bytes):
            text = value.decode("utf-8", "surrogateescape")
            changed = self._without_matches(rule, place, text)
            return value if changed is text else str(changed).encode("utf-8", "surrogateescape")
        if rule.matching is None or not isinstance(value, str) or not _finds(rule, value):
            return value

        def change(match: re.Match[str]) -> str:
            if rule.paths != EVERYTHING:  # else the rule covers the error itself
                self.taken.add(match[0])
            return str(rule.change(place.name, match[0])) if match[0] else ""

        return rule.matching.sub(change, value)


def _single(value: object) -> object:
    """Give what a rule made as a value that travels as it is."""
    if type(value) in SINGLE or value is DROP:
        return value
    found = plain(value)
    if type(found) not in SINGLE:
        raise TypeError("a rule gives single values, no lists or maps")
    return found


def _checked(rule: object) -> Rule:
    if not isinstance(rule, Rule):
        raise TypeError(f"redact takes rules such as redact.drop('inputs.name'), not {rule!r}")
    return rule


def _finds(rule: Rule, text: str) -> bool:
    return rule.matching is not None and rule.matching.search(text) is not None


def _effective(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Leave out the rules whose result a later one throws away."""
    for position in reversed(range(len(rules))):
        if rules[position].constant:
            dropping = [rule for rule in rules if rule.constant and rule.change("", "") is DROP]
            return tuple(dropping[:1]) or rules[position:]
    return rules


def _parts(rule: Rule) -> Iterator[tuple[Rule, re.Pattern[str], re.Pattern[str]]]:
    """Compile a rule: what is done, to which places, and which places are on the way there."""
    covers, toward = _compiled(rule.paths)
    if not rule.outside:
        yield rule, covers, toward
        return
    inside = rf"(?:{'|'.join(rule.outside)})(?:{_SEPARATOR}.*)?"
    covered, on_the_way = covers.pattern, toward.pattern
    rest = re.compile(rf"(?!(?:{covered}|{on_the_way})\Z){inside}", covers.flags)
    yield rule, rest, rest
    # On the way to what is listed, maps and lists are looked into; a single value there is not listed.
    way = re.compile(rf"(?!(?:{covered})\Z)(?=(?:{on_the_way})\Z){inside}", covers.flags)
    yield replace(rule, whole=(), constant=False, outside=()), way, way


def _compiled(paths: Iterable[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Compile patterns into two: for the places that they cover, and for those on the way there."""
    covers, toward = zip(*map(_expressions, paths), strict=True)
    flags = re.DOTALL | re.IGNORECASE  # columns have no case in SQL
    return re.compile("|".join(covers), flags), re.compile("|".join(toward), flags)


def _expressions(pattern: str) -> tuple[str, str]:
    names = [".*" if name == "**" else _name_expression(name) for name in pattern.split(".")]
    covers = "".join(f"(?:.*{_SEPARATOR})?" if name == ".*" else name + _SEPARATOR for name in names[:-1])
    toward = ""
    for name in reversed(names[1:]):
        toward = f"(?:{_SEPARATOR}{name}{toward})?"
    return f"{covers}{names[-1]}(?:{_SEPARATOR}.*)?", names[0] + toward


def _name_expression(name: str) -> str:
    return "[^\0]*".join(map(re.escape, name.split("*")))
