"""Redaction: what rules cover does not leave, in whatever field, class, key or error it stands."""

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import lapwing
from lapwing import redact
from lapwing._encode import MAX_DEPTH
from lapwing._redactor import KEPT_PLACES
from lapwing._request import Envelope
from lapwing.redact import Redactor, Rule
from lapwing.testing import capture, decode

SALT = "0123456789abcdef"
MASK = "***"
FAILED = "<redaction failed>"
WITHHELD = "<withheld: too much was redacted to search this text for it>"


def redactor(*rules: Rule) -> Redactor:
    """Compile rules none of which may fail."""
    return Redactor(rules, pytest.fail)


def redacted(value: Any, *rules: Rule) -> Any:
    """Redact the value of one input; the input itself may be gone."""
    return redactor(*rules).fields("inputs", {"x": value}).get("x", redact.DROP)


def hashed(text: str | bytes) -> str:
    """Hash as the page on redaction says."""
    content = text if isinstance(text, bytes) else text.encode()
    return hmac.new(SALT.encode(), content, hashlib.sha256).hexdigest()[:32]


@dataclass
class User:
    """A record of the standard library."""

    name: str
    email: str


class Account(BaseModel):
    """A record of pydantic."""

    name: str
    email: str


class Plan(Enum):
    """A value with a name."""

    FREE = "free"


def test_dropped_fields_are_left_out() -> None:
    """What `drop` names is gone, nested fields and those of maps in lists included; the rest is as it was."""
    rules = redactor(redact.drop("inputs.ssn", "inputs.*.email"))
    fields = {"ssn": 1, "age": 31, "user": {"email": "e", "name": "n"}, "all": [{"email": "e"}, 5, None]}
    assert rules.fields("inputs", fields) == {"age": 31, "user": {"name": "n"}, "all": [{}, 5, None]}


@pytest.mark.parametrize(
    ("section", "fields", "kept"),
    [
        (
            "inputs",
            {"AGE": 31, "ssn": 1, "user": {"city": "Oslo", "name": "n"}, "x": [1]},
            {"AGE": 31, "user": {"city": "Oslo"}},
        ),
        ("inputs", {"user": "Bob"}, {}),
        ("inputs", {"user": [{"city": 1, "name": 2}, "Bob", 3]}, {"user": [{"city": 1}, None, None]}),
        ("output", {"value": 1, "scores": {"a": 2}}, {"value": 1, "scores": {"a": 2}}),
        ("tags", {"plan": "free", "user": "u"}, {"plan": "free"}),
        ("resource", {"host.name": "h"}, {"host.name": "h"}),
        ("", {"label": 1, "prediction_id": "p"}, {"prediction_id": "p"}),
    ],
    ids=["nested", "single_on_the_way", "list", "whole_section", "wildcard", "resource", "label"],
)
def test_only_what_is_allowed_is_kept(section: str, fields: dict[str, Any], kept: dict[str, Any]) -> None:
    """A list leaves what it names, with all below; single values on the way there are not listed."""
    rules = redactor(redact.allow("inputs.age", "inputs.user.city", "output", "tags.pl*n"))
    assert rules.fields(section, fields) == kept


def test_columns_are_kept_as_fields_are() -> None:
    """A list is for the columns of tables, too, and what it left out is hidden in their errors."""
    record = redactor(redact.allow("inputs.age", "inputs.user.city")).record()
    users = pa.array([{"city": "Oslo", "name": "Annabel"}])
    columns = {"age": pa.array([31]), "user": users, "ssn": pa.array(["078-05-1120"])}
    kept = record.table("inputs", columns)
    assert {name: column.to_pylist() for name, column in kept.items()} == {
        "age": [31],
        "user": [{"city": "Oslo"}],
    }
    errors = record.table("", {"error_message": pa.array(["Annabel of Oslo, 078-05-1120"])})
    assert errors["error_message"].to_pylist() == ["*** of Oslo, ***"]
    assert record.table("inputs", {"user": pa.array(["Bob"])})["user"].to_pylist() == [None]


def test_a_list_names_fields_of_the_users() -> None:
    """A list without a path, or with one of something that is no list's matter, is refused."""
    with pytest.raises(ValueError, match="name the fields that are kept"):
        redact.allow()
    with pytest.raises(ValueError, match="names no field: paths begin with inputs, output, tags, label"):
        redact.allow("prediction_id")


@pytest.mark.parametrize(
    "value", ["Alice", 31, 0.5, True, b"Alice", [1, 2], {"a": 1}, {1}, np.zeros(3), Plan.FREE]
)
def test_masked_values_become_the_constant(value: Any) -> None:
    """Whatever a masked field holds, the constant stands in its place."""
    assert redacted(value, redact.mask("inputs.x")) == MASK
    assert redacted(value, redact.mask("inputs.x", with_=0)) == 0


@pytest.mark.parametrize("rule", [redact.mask(), redact.hash(salt=SALT), redact.truncate(length=1)], ids=str)
@pytest.mark.parametrize("null", [None, pd.NA, pd.NaT], ids=str)
def test_nulls_stay_null(rule: Rule, null: object) -> None:
    """A null says only that there is nothing, and stays one."""
    assert redacted(null, rule) is None


def test_hashes_are_those_that_the_page_describes() -> None:
    """A hash is the first half of HMAC-SHA-256 over the value's text, whatever the salt is given as."""
    assert redacted("Åsa", redact.hash(salt=SALT)) == hashed("Åsa")
    assert redacted(b"\xff", redact.hash(salt=SALT.encode())) == hashed(b"\xff")


@pytest.mark.parametrize("same", [31, 31.0, "31", np.int8(31), np.float32(31), Decimal(31)])
def test_equal_values_have_equal_hashes(same: object) -> None:
    """Numbers hash by their text, whole ones alike in every type."""
    assert redacted(same, redact.hash(salt=SALT)) == hashed("31")


def test_maps_are_hashed_whole_and_lists_by_item() -> None:
    """A hashed map shows none of its keys, in whatever order they came; a hashed list keeps its length."""
    rule = redact.hash("inputs.x", salt=SALT)
    assert (
        redacted({"b": 1, "a": [2]}, rule)
        == redacted({"a": [2.0], "b": "1"}, rule)
        == hashed(json.dumps({"a": ["2"], "b": "1"}))
    )
    assert redacted(["a", ["b", None]], rule) == [hashed("a"), [hashed("b"), None]]


def test_texts_and_bytes_are_truncated() -> None:
    """Only the beginning of a text or of bytes is kept; numbers and what is short enough stay."""
    rule = redact.truncate("inputs.x", length=3)
    assert redacted(["abcd", "abc", b"abcd", 12345, {"key": "abcd"}], rule) == [
        "abc",
        "abc",
        b"abc",
        12345,
        {"key": "abc"},
    ]


def test_custom_functions_see_single_values_with_their_paths() -> None:
    """A function is called for each single value that is no null, with the path that people would write."""
    seen = []

    def change(path: str, value: object) -> object:
        seen.append((path, value))
        return redact.DROP if value == "away" else np.float64(0.5)

    value = {"a": [1, "away", None], "b": {"c": "away", "d": b"d"}}
    assert redacted(value, redact.custom(change, "inputs.x")) == {"a": [0.5, None, None], "b": {"d": 0.5}}
    assert seen == [
        ("inputs.x.a", 1),
        ("inputs.x.a", "away"),
        ("inputs.x.b.c", "away"),
        ("inputs.x.b.d", b"d"),
    ]


@pytest.mark.parametrize(
    ("rule", "result"),
    [
        (redact.mask(matching="b+"), "a***c***"),
        (redact.mask(matching="b+", with_=r"\1"), r"a\1c\1"),
        (redact.drop(matching=re.compile("B+", re.IGNORECASE)), "ac"),
        (redact.hash(matching="b+", salt=SALT), f"a{hashed('bb')}c{hashed('b')}"),
        (redact.mask("inputs.y", matching="b+"), "abbcb"),
    ],
    ids=str,
)
def test_matching_parts_of_texts_are_changed(rule: Rule, result: str) -> None:
    """With `matching` the parts that match are masked, cut out or hashed, in texts, in bytes and in keys."""
    assert redacted("abbcb", rule) == result
    assert redacted(b"\xffabbcb", rule) == b"\xff" + result.encode()
    assert redacted({"abbcb": ["abbcb", 7]}, rule) == {result: [result, 7]}


def test_keys_that_become_alike_stay_apart() -> None:
    """Two keys with one name after redaction keep a value each."""
    rule = redact.mask(matching=redact.EMAIL)
    assert redacted({"a@x.org": 1, "b@x.org": 2, MASK: 3}, rule) == {MASK: 1, f"{MASK}~2": 2, f"{MASK}~3": 3}
    assert redacted({"a@x.org": 1}, redact.drop(matching=redact.EMAIL)) == {MASK: 1}


def test_rules_apply_in_order() -> None:
    """Each rule gets what the one before it made; what is dropped or masked is not looked into."""
    assert redacted("abcdef", redact.truncate(length=3), redact.hash(salt=SALT)) == hashed("abc")
    assert redacted("abcdef", redact.hash(salt=SALT), redact.truncate(length=3)) == hashed("abcdef")[:3]
    assert redacted({"a": 1}, redact.hash(salt=SALT), redact.truncate(length=3)) == hashed('{"a": "1"}')[:3]
    assert redacted("a", redact.custom(lambda _path, _value: pytest.fail("called")), redact.mask()) == MASK
    assert redacted("a", redact.mask(), redact.drop(), redact.mask()) is redact.DROP


@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        ("inputs.user.email", {"email"}),
        ("inputs.USER.eMail", {"email"}),
        ("inputs.user", {"email", "deep"}),
        ("inputs", {"email", "deep", "dotted", "flat"}),
        ("inputs.*", {"email", "deep", "dotted", "flat"}),
        ("inputs.*.email", {"email", "dotted"}),
        ("inputs.**.email", {"email", "deep", "dotted", "flat"}),
        ("**.email", {"email", "deep", "dotted", "flat"}),
        ("inputs.**", {"email", "deep", "dotted", "flat"}),
        ("inputs.u*r.*.email", {"deep"}),
        ("inputs.e*l", {"flat"}),
        ("inputs.a.b.email", {"dotted"}),
        ("in*.user.*", {"email", "deep"}),
        ("output.**", set()),
        ("inputs.user.ema", set()),
        ("inputs.us", set()),
    ],
)
def test_patterns_cover_paths(pattern: str, covers: set[str]) -> None:
    """`*` is within one name, `**` any number of them, a prefix covers all below, dots hide nothing."""
    fields = {
        "user": {"email": "email", "more": {"email": "deep"}},
        "a.b": {"email": "dotted"},
        "email": "flat",
    }
    left = repr(redactor(redact.drop(pattern)).fields("inputs", fields))
    assert {value for value in ("email", "deep", "dotted", "flat") if f": '{value}'" not in left} == covers


def test_a_nul_in_a_key_is_no_way_around() -> None:
    """A key cannot pass for two names with the separator that is used inside."""
    rules = redactor(redact.drop("inputs.*.email"))
    assert rules.fields("inputs", {"a\0b": {"email": 1}}) == {"a\0b": {}}


@pytest.mark.parametrize(
    "value",
    [
        User("Ann", "ann@x.org"),
        Account(name="Ann", email="ann@x.org"),
        pd.Series({"name": "Ann", "email": "ann@x.org"}),
        {"name": "Ann", "email": np.array("ann@x.org")},
        np.array([("Ann", "ann@x.org")], [("name", "U9"), ("email", "U9")])[0],
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_class_is_a_way_around(value: Any) -> None:
    """Fields of dataclasses, models, rows and records are found as those of maps are."""
    assert redacted(value, redact.drop("inputs.x.email")) == {"name": "Ann"}
    assert redacted(value, redact.mask(matching=redact.EMAIL)) == {"name": "Ann", "email": MASK}


@pytest.mark.parametrize(
    "value", [np.array(["ann@x.org"]), {"ann@x.org"}, ("ann@x.org",), pd.Series(["ann@x.org"])]
)
def test_items_are_searched_in_every_kind_of_list(value: Any) -> None:
    """Texts in arrays, sets, tuples and columns are searched."""
    assert redacted(value, redact.mask(matching=redact.EMAIL)) == [MASK]


def test_what_no_rule_can_touch_is_not_even_looked_at() -> None:
    """Values that no rule concerns stay the very same objects; arrays of numbers are not searched."""
    user, array = User("Ann", "ann@x.org"), np.zeros(3)
    fields = {"user": user, "array": array}
    assert redactor(redact.drop("tags.x")).fields("inputs", fields) is fields
    assert redactor(redact.drop("inputs.x")).fields("inputs", fields)["user"] is user
    assert redactor(redact.mask(matching="7")).fields("inputs", fields)["array"] is array


def test_every_section_is_covered() -> None:
    """Rules reach tags, the resource, labels and each field of the record, by the names of the columns."""
    names = ["label", "prediction_id", "request_id", "version", "variant", "upstream", "source"]
    names += ["error_type", "error_message", "error_stacktrace"]
    for name in names:
        assert redactor(redact.mask(name)).fields("", {name: "secret", "model": "m"}) == {
            name: MASK,
            "model": "m",
        }
    assert redactor(redact.mask("label.why")).fields("", {"label": {"why": "w"}}) == {"label": {"why": MASK}}
    for section in ("tags", "resource", "output"):
        rule = redact.mask(f"{section}.host.name")
        assert redactor(rule).fields(section, {"host.name": "h", "b": 1}) == {"host.name": MASK, "b": 1}


def test_what_the_sdk_makes_itself_stays() -> None:
    """No rule touches times, stages, weights and the process's id: without them, rows would be lost."""
    rules = redactor(redact.mask())
    own = {"stage": "shadow", "weight": 2.0, "time": 1}
    assert rules.fields("", own) == own
    assert rules.fields("resource", {"lapwing.process.id": "id", "service.name": "s"}) == {
        "lapwing.process.id": "id",
        "service.name": MASK,
    }


@pytest.mark.parametrize(
    "rule",
    [
        redact.drop("model"),
        redact.drop(matching=".+"),
        redact.truncate(length=0),
        redact.mask("model", with_=None),
        redact.custom(lambda _path, _value: redact.DROP),
    ],
    ids=str,
)
def test_a_record_keeps_a_model(rule: Rule) -> None:
    """The model's name can be masked or hashed; where it would be gone it is masked, in columns, too."""
    assert redactor(rule).fields("", {"model": "churn"}) == {"model": MASK}
    assert redactor(rule).record().table("", {"model": pa.array(["churn"])})["model"].to_pylist() == [MASK]


SECRETS = [
    "Alice Smith",
    'O\'Neil \\ "x"\n',
    "Åsa",
    "Al",
    "first line\nsecond line",
    123456,
    7,
    52000.0,
    True,
    b"\xffbytes",
    datetime(1990, 5, 17, 6, 15, tzinfo=UTC),
    date(1990, 5, 17),
    Decimal("1234.5"),
    Plan.FREE,
    User("Alice", "al@x"),
    {"friends": {"Bob": ["Carol", 31]}},
    np.array(["Alice", "Bob"]),
    np.array([31, 52000]),
]


@pytest.mark.parametrize("secret", SECRETS, ids=repr)
@pytest.mark.parametrize("act", [redact.drop, redact.mask, lambda path: redact.hash(path, salt=SALT)])
def test_errors_do_not_repeat_what_a_path_took_away(act: Callable[[str], Rule], secret: Any) -> None:
    """A value that a path rule took away is hidden in message and stack trace, however it is quoted."""
    record = redactor(act("inputs.x")).record()
    record.fields("inputs", {"x": secret, "line": 9})
    quoted = [f"{secret!r}", f"{secret}"]
    if isinstance(secret, str | int | float):
        quoted += [json.dumps(secret), secret.strip()] if isinstance(secret, str) else [f"{secret:g}"]
    errors = {"error_message": f"KeyError: {quoted}", "error_stacktrace": "\n".join([*quoted, "line 9"])}
    found = record.fields("", errors)
    assert found["error_stacktrace"].endswith("line 9")
    pieces = re.findall(
        r"\w+",
        "Alice Smith Neil Åsa Al first second 123456 7 52000 True bytes 1990 1234 free al Bob Carol 31",
    )
    told = re.findall(r"\w+", f"{secret!r}")
    for piece in {piece for piece in pieces if piece in told}:
        assert not re.search(rf"\b{piece}\b", " ".join(map(str, found.values())))


def test_short_values_are_hidden_as_words_only() -> None:
    """A short value, or a key, is hidden where it stands alone; letters within other words stay."""
    record = redactor(redact.drop("inputs.x")).record()
    record.fields("inputs", {"x": {"name": "Al"}})
    assert record.fields("", {"error_message": "Al: Almost rename(name)"}) == {
        "error_message": "***: Almost rename(***)"
    }


def test_errors_do_not_repeat_parts_and_endings() -> None:
    """Parts that a rule for one field found, and texts that were truncated, are hidden in the error, too."""
    rules = redactor(
        redact.mask("inputs.note", matching=redact.EMAIL), redact.truncate("inputs.zip", length=2)
    )
    record = rules.record()
    record.fields("inputs", {"note": "mail to ann@x.org", "zip": "90210"})
    assert record.fields("", {"error_message": "ann@x.org in 90210"}) == {"error_message": "*** in ***"}


def test_errors_do_not_repeat_their_own_record() -> None:
    """Errors are searched last, for what fields given along with them held, too; long texts first."""
    record = redactor(redact.drop("label", "request_id")).record()
    fields = {"error_message": "for Alice Smith", "label": "Alice", "request_id": "Alice Smith"}
    assert record.fields("", fields) == {"error_message": "for ***"}


def test_lines_are_hidden_one_by_one() -> None:
    """A text of several lines is hidden in the trace of a group of exceptions, too, which indents each."""
    record = redactor(redact.drop("inputs.x")).record()
    record.fields("inputs", {"x": "Alice Smith\nBaker Street"})
    trace = "  | ValueError: Alice Smith\n  | Baker Street"
    assert record.fields("", {"error_stacktrace": trace}) == {
        "error_stacktrace": "  | ValueError: ***\n  | ***"
    }


def test_records_share_nothing() -> None:
    """What was taken out of one record does not change the error of another."""
    rules = redactor(redact.drop("inputs.x"))
    rules.record().fields("inputs", {"x": "Alice"})
    assert rules.record().fields("", {"error_message": "Alice"}) == {"error_message": "Alice"}


def test_values_are_noted_before_they_change() -> None:
    """What the call does to its arguments afterwards does not hide them from the search of its error."""
    record = redactor(redact.drop("inputs.x")).record()
    argument = {"names": ["Alice"]}
    record.fields("inputs", {"x": argument})
    argument["names"].clear()
    assert record.fields("", {"error_message": "no Alice"}) == {"error_message": "no ***"}


def test_too_much_to_search_for_withholds_the_error() -> None:
    """Where more was taken away than can be searched for, message and trace are withheld as a whole."""
    record = redactor(redact.drop("inputs.x")).record()
    record.fields("inputs", {"x": [str(number) for number in range(10_001)]})
    record.fields("inputs", {"x": "Alice"})
    assert record.fields("", {"error_message": "fine"}) == {"error_message": WITHHELD}
    endless: list[Any] = []
    endless.append(endless)
    record = redactor(redact.drop("inputs.x")).record()
    record.fields("inputs", {"x": endless})
    record.fields("inputs", {"x": {"name": "Alice"}})
    assert record.fields("", {"error_message": "fine"}) == {"error_message": WITHHELD}


def test_pixels_do_not_withhold_the_error() -> None:
    """A big array of numbers that is dropped is neither listed nor searched for."""
    record = redactor(redact.drop("inputs.x")).record()
    assert record.fields("inputs", {"x": np.zeros((100, 200))}) == {}
    assert record.fields("", {"error_message": "shape 0.0"}) == {"error_message": "shape 0.0"}


def fail(_path: str, value: object) -> object:
    """Fail with the value in the message, as functions do."""
    raise KeyError(value)


@pytest.mark.parametrize("function", [fail, lambda _path, value: [value], lambda _path, value: {"v": value}])
def test_a_failing_rule_fails_closed(function: Callable[[str, Any], object]) -> None:
    """Where a function raises or gives no single value, a text stands for it, which is told once."""
    told: list[str] = []
    rules = Redactor([redact.custom(function, "inputs.*")], told.append)
    record = rules.record()
    assert record.fields("inputs", {"x": "Alice", "y": ["Alice"]}) == {"x": FAILED, "y": [FAILED]}
    assert record.fields("", {"error_message": "Alice"}) == {"error_message": MASK}
    column = rules.record().table("inputs", {"x": pa.array(["Alice", None])})["x"]
    assert column.to_pylist() == [FAILED, None]
    assert rules.failures == 3
    (message,) = told
    assert "Alice" not in message
    assert "redact.custom(" in message
    assert "'inputs.*'" in message


def test_a_value_that_cannot_be_read_fails_closed() -> None:
    """A value inside itself, or deeper than anything travels, stands as a text instead of leaving unread."""
    endless: dict[str, Any] = {"secret": "Alice"}
    endless["again"] = endless
    told: list[str] = []
    found = repr(Redactor([redact.drop("**.secret")], told.append).fields("inputs", {"x": endless}))
    assert "Alice" not in found
    assert found.count("again") == MAX_DEPTH
    assert FAILED in found
    assert len(told) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: redact.drop("ssn"), "'ssn' to redact names no field.*'inputs.ssn'"),
        (lambda: redact.drop("inputs..a"), "empty name"),
        (lambda: redact.drop("inputs.a**"), "whole names"),
        (lambda: redact.drop(""), "is text"),
        (lambda: redact.mask(matching="("), "no regular expression"),
        (lambda: redact.mask(matching=re.compile(b"x")), "for bytes"),  # type: ignore[arg-type]
        (lambda: redact.mask(matching="x", with_=1), "with_ is text"),
        (lambda: redact.mask(with_=[1]), "with_ is text, a number"),  # type: ignore[arg-type]
        (lambda: redact.hash(salt=""), "salt is empty"),
        (lambda: redact.hash(salt=7), "salt is text or bytes"),  # type: ignore[arg-type]
        (lambda: redact.truncate(length=-1), "0 or more"),
        (lambda: redact.custom("inputs.x"), "takes a function"),  # type: ignore[arg-type]
        (lambda: Redactor(["inputs.x"], print), "rules such as"),  # type: ignore[list-item]
    ],
)
def test_wrong_rules_are_refused(make: Callable[[], object], message: str) -> None:
    """A rule that could not work raises where it is made, and says what to do."""
    with pytest.raises((TypeError, ValueError), match=message):
        make()


def test_rules_do_not_show_their_salt() -> None:
    """A rule that is printed, as in a log of settings, keeps its secret."""
    assert SALT not in repr(redact.hash("tags.user", salt=SALT))


@pytest.mark.parametrize(
    ("pattern", "text", "left"),
    [
        (redact.EMAIL, "email=ann.b+c@mail.example.org, Åsa@bücher.de.", "email=***, ***."),
        (redact.EMAIL, "a@b, @x.org, root@localhost", "a@b, @x.org, root@localhost"),
        (redact.CREDIT_CARD, "4111 1111 1111 1111 or 378282246310005", "*** or ***"),
        (redact.CREDIT_CARD, "123456789012, 01234567890123456789", "123456789012, 01234567890123456789"),
        (redact.IBAN, "to DE89 3704 0044 0532 0130 00, GB29NWBK60161331926819.", "to ***, ***."),
        (redact.IPV4, "at 10.0.0.1. Not 256.1.1.1 or 1.2.3.4.5", "at ***. Not 256.1.1.1 or 1.2.3.4.5"),
        (redact.US_SSN, "078-05-1120, 078 05 1120, 078-05 1120", "***, ***, 078-05 1120"),
    ],
)
def test_ready_made_patterns(pattern: re.Pattern[str], text: str, left: str) -> None:
    """The patterns find what they are for, and say in their documentation what they do not."""
    assert redacted(text, redact.mask(matching=pattern)) == left


def test_memory_is_bounded_however_many_keys_come() -> None:
    """Places are forgotten when there are too many, and rules apply all the same."""
    rules = redactor(redact.drop("inputs.x.*.email"))
    for number in range(KEPT_PLACES + 10):
        assert rules.fields("inputs", {"x": {f"k{number}": {"email": 1}}}) == {"x": {f"k{number}": {}}}
    assert rules.fields("inputs", {"x": {"k" * 200: {"email": 1}}}) == {"x": {"k" * 200: {}}}
    assert sum(len(place) for place in rules.root["inputs"].values()) < KEPT_PLACES


# Tables

COLUMNS: dict[str, pa.Array] = {
    "text": pa.array(["ann@x.org", None, "b", "b"]),
    "view": pa.array(["ann@x.org", None, "b", "b"], pa.string_view()),
    "bytes": pa.array([b"ann@x.org", None, b"\xff", b""]),
    "int": pa.array([31, None, 7, 7]),
    "float": pa.array([31.0, None, float("nan"), 0.5], pa.float32()),
    "bool": pa.array([True, None, False, True]),
    "null": pa.nulls(4),
    "category": pa.array(["ann@x.org", None, "b", "b"]).dictionary_encode(),
    "list": pa.array([["ann@x.org", None], None, [], ["b", "c"]]),
    "large": pa.array([["ann@x.org", None], None, [], ["b", "c"]], pa.large_list(pa.large_string())),
    "fixed": pa.array([["ann@x.org", None], None, ["a", "b"], ["b", "c"]], pa.list_(pa.string(), 2)),
    "vector": pa.array([[0.5, 1], None, [2, 3], [3, 4]], pa.list_(pa.float32(), 2)),
    "struct": pa.array(
        [{"email": "ann@x.org", "in": {"n": 1}}, None, {"email": None, "in": None}, {"email": "b"}]
    ),
    "structs": pa.array([[{"email": "ann@x.org"}], None, [], [None, {"email": "b"}]]),
    "map": pa.array(
        [[("ann@x.org", "v"), ("k", None)], None, [], [("k", "ann@x.org")]], pa.map_(pa.string(), pa.string())
    ),
    "numbers": pa.array([[("ann@x.org", 1)], None, [], [("email", 2)]], pa.map_(pa.string(), pa.int64())),
    "time": pa.array([datetime(1990, 5, 17, tzinfo=UTC), None, datetime(2001, 1, 1, tzinfo=UTC), None]),
    "date": pa.array([date(1990, 5, 17), None, date(2001, 1, 1), None]),
    "decimal": pa.array([Decimal("12.5"), None, Decimal("0.5"), None]),
}
RULES = [
    redact.drop("inputs.email", "inputs.**.email"),
    redact.drop("inputs.struct.in", "inputs.struct.email"),
    redact.drop(),
    redact.mask(),
    redact.mask("inputs.*.in"),
    redact.mask("inputs.int", "inputs.float", with_=0),
    redact.mask(with_=None),
    redact.hash(salt=SALT),
    redact.hash("inputs.**.email", salt=SALT),
    redact.truncate(length=2),
    redact.mask(matching=redact.EMAIL),
    redact.mask(matching="1990|ann"),
    redact.drop(matching=redact.EMAIL),
    redact.hash(salt=SALT, matching=redact.EMAIL),
    redact.custom(lambda _path, value: redact.DROP if value == "b" else f"{value}!"),
    redact.custom(lambda path, value: value if path == "inputs.map.k" else 0.5, "inputs.*"),
]


@pytest.mark.parametrize("sliced", [False, True])
@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_redacted_as_their_values_are(name: str, rule: Rule, *, sliced: bool) -> None:
    """A column holds what redacting its rows one by one gives; what is dropped from some is null."""
    rules = redactor(rule)
    column = COLUMNS[name].slice(1, 2) if sliced else COLUMNS[name]
    values = column.to_pylist(maps_as_pydicts="strict")
    rows = [rules.fields("inputs", {name: value}).get(name, redact.DROP) for value in values]
    table = rules.record().table("inputs", {name: pa.chunked_array([column[:1], column[1:]])})
    if name not in table:
        assert all(row is redact.DROP for row in rows)
        return
    found = table[name].to_pylist(maps_as_pydicts="strict")
    assert [as_text(value) for value in found] == [as_text(row) for row in rows]
    table[name].validate(full=True)


def as_text(value: object) -> object:
    """Make values comparable that differ only by type: a column has one, a struct has all its fields."""
    if isinstance(value, dict):
        return {key: as_text(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [as_text(item) for item in value]
    return None if value is None or value is redact.DROP else redact._as_text(value)


def test_columns_without_matches_are_the_very_same() -> None:
    """Arrow's data is copied only where it changes; types stay where the values keep theirs."""
    rules = redactor(redact.mask(matching="nothing like it"), redact.drop("inputs.other"))
    table = rules.record().table("inputs", COLUMNS)
    assert all(table[name] is COLUMNS[name] for name in COLUMNS)
    shorter = (
        redactor(redact.truncate(length=1))
        .record()
        .table("inputs", {"x": pa.array(["ab"], pa.large_string())})
    )
    assert shorter["x"].type == pa.large_string()
    rounded = redactor(redact.custom(lambda _path, value: value + 0.5, "inputs.int")).record()
    assert rounded.table("inputs", {"int": COLUMNS["int"]})["int"].to_pylist() == [31.5, None, 7.5, 7.5]


def test_names_of_columns_are_searched() -> None:
    """A text that a rule finds in the name of a column or of a struct's field does not leave there."""
    columns = {"ann@x.org": pa.array([1]), "s": pa.array([{"bob@x.org": 1}]), MASK: pa.array([2])}
    table = redactor(redact.mask(matching=redact.EMAIL)).record().table("inputs", columns)
    assert {name: column.to_pylist() for name, column in table.items()} == {
        MASK: [1],
        "s": [{MASK: 1}],
        f"{MASK}~3": [2],
    }


def test_errors_of_tables_do_not_repeat_what_was_taken() -> None:
    """What rules took out of columns is hidden in the errors of the rows and in the one of the call."""
    record = redactor(redact.drop("inputs.name"), redact.hash("inputs.user", salt=SALT)).record()
    columns = {"name": pa.array(["Alice", "Bob"]), "user": pa.array([{"id": 1234}, {"id": 5678}])}
    record.table("inputs", columns)
    errors = record.table(
        "", {"error_message": pa.array(["no Bob", None]), "prediction_id": pa.array(["a", "b"])}
    )
    assert errors["error_message"].to_pylist() == [f"no {MASK}", None]
    assert record.fields("", {"error_message": "Alice, 5678"}) == {"error_message": "***, ***"}
    record.table("inputs", {"name": pa.array(map(str, range(10_001)))})
    assert record.fields("", {"error_message": "Alice"}) == {"error_message": WITHHELD}


# Canaries

CANARY = "canary"
NUMBER = 987654321


class Box:
    """An object that becomes text."""

    def __init__(self, text: str) -> None:
        """Keep the text."""
        self.text = text

    def __repr__(self) -> str:
        return f"Box {self.text}"


canaries = st.from_regex(r"\A[a-z ]{0,3}canary[0-9]{1,4}[ !x]?\Z")
leaves = st.one_of(
    canaries,
    canaries.map(str.encode),
    canaries.map(Box),
    canaries.map(lambda text: np.array([text])),
    canaries.map(lambda text: {text}),
    canaries.map(lambda text: User("name", text)),
    canaries.map(lambda text: Account(name=text, email="")),
    canaries.map(lambda text: pd.Series([text, "b"])),
    st.none(),
    st.booleans(),
    st.floats(),
)
nested = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(canaries | st.just("key"), inner, max_size=3),
    max_leaves=8,
)
columns_of = st.sampled_from(
    [
        pa.array,
        lambda values: pa.array(values).dictionary_encode(),
        lambda values: pa.array([value and value.encode() for value in values]),
        lambda values: pa.array([[value] for value in values]),
        lambda values: pa.array([{"a": value, "b": 1} for value in values]),
        lambda values: pa.array([{"a": [{"b": value}]} for value in values]),
        lambda values: pa.array(
            [[(value or "k", value)] for value in values], pa.map_(pa.string(), pa.string())
        ),
    ]
)
ACTS = st.sampled_from(
    [redact.drop, redact.mask, lambda *paths, **more: redact.hash(*paths, salt=SALT, **more)]
)
SECTIONS = ("inputs", "output", "tags", "label", "request_id", "prediction_id", "resource", "error_type")
"""Whose values a rule by path can take; errors follow by themselves."""


@st.composite
def search_rules(draw: st.DrawFn) -> list[Rule]:
    """Draw rules that search every text for canaries, in a line with others."""
    others = st.sampled_from(
        [redact.drop("inputs.zzz"), redact.truncate(length=10**6), redact.mask("inputs.*.zzz")]
    )
    matching = draw(st.sampled_from([r"canary\d+", re.compile("CANARY", re.IGNORECASE)]))
    return [*draw(st.lists(others)), draw(ACTS)(matching=matching), *draw(st.lists(others))]


@st.composite
def path_rules(draw: st.DrawFn) -> list[Rule]:
    """Draw rules that take the values of all fields, section by section, each in its way."""
    pattern = draw(st.sampled_from(["{0}", "{0}.**", "**"]))
    rules = []
    for section in SECTIONS:
        single = "_" in section or section == "label"
        rules.append(draw(ACTS)(section if single else pattern.format(section)))
    return draw(st.permutations(rules))


def assert_not_sent(request: bytes, *secrets: str) -> None:
    """Fail if a secret is anywhere in the body of an OTLP request, also inside its compressed batches."""
    for secret in secrets:
        assert secret.encode() not in request
        for record in decode(request):
            assert secret not in repr(record)
            assert secret not in repr(record.rows)


def everything(rules: list[Rule], value: Any, key: str) -> str:
    """Redact a record that holds a value in every field; gives all that is left."""
    record = redactor(*rules).record()
    left = [
        record.fields(section, {key: value, "number": NUMBER}) for section in ("inputs", "output", "tags")
    ]
    left.append(record.fields("resource", {key: value}))
    left.append(record.fields("", {"label": value, "request_id": f"{value}", "prediction_id": f"{value}"}))
    quote = f"{value!r} {value} {NUMBER}"
    left.append(
        record.fields("", {"error_type": "E", "error_message": quote, "error_stacktrace": f"{quote}\n  x"})
    )
    return repr(left)


@given(search_rules(), nested, canaries)
def test_searches_leave_no_canary(rules: list[Rule], value: Any, key: str) -> None:
    """No text that a rule searches for is left: in values, keys, bytes, ids, labels, errors, resource."""
    assert CANARY not in everything(rules, value, key).lower()


@given(path_rules(), nested)
def test_paths_leave_no_canary(rules: list[Rule], value: Any) -> None:
    """No value of a field that a rule names is left, keys included, nor is it repeated by the error."""
    left = everything(rules, value, "field")
    assert CANARY not in left
    assert str(NUMBER) not in left


@given(search_rules() | path_rules(), columns_of, st.lists(canaries | st.none(), min_size=1, max_size=4))
def test_columns_leave_no_canary(
    rules: list[Rule], make: Callable[[list[str | None]], pa.Array], values: list[str | None]
) -> None:
    """No canary is left in the columns of a table, their names, or the errors of its rows."""
    record = redactor(*rules).record()
    left: list[Mapping[str, pa.Array]] = [
        record.table(section, {"field": make(values)}) for section in ("inputs", "output", "tags")
    ]
    ids = pa.array([value or "" for value in values])
    left.append(record.table("", {"label": make(values), "prediction_id": ids, "request_id": ids}))
    left.append(
        record.table("", {"error_message": pa.array([value and f"{value!r}: {values}" for value in values])})
    )
    assert CANARY not in repr(
        [(list(table), [column.to_pylist() for column in table.values()]) for table in left]
    )


@settings(max_examples=30)
@given(search_rules(), nested, canaries)
def test_no_canary_is_on_the_wire(rules: list[Rule], value: Any, text: str) -> None:
    """What calls, failed calls, labels and tables send holds no canary, wherever the caller put one."""

    @lapwing.watch(model="m", version=text, tags={"tag": text})
    def predict(given: Any, **more: Any) -> Any:
        if more.get("fails"):
            raise KeyError(given)
        return {"value": given, text: text}

    with capture(redact=rules) as recorded:
        with lapwing.scope(request_id=text, variant=text, upstream=text):
            predict(value, **{text: text})
            with pytest.raises(KeyError):
                predict(value, fails=True)
        lapwing.log_prediction(
            model=f"m {text}", inputs={text: value}, output=value, prediction_id=text, error=text
        )
        lapwing.log_label(model="m", label=value, prediction_id=text, request_id=text, source=text)
        predict(pd.DataFrame({"a": [text, "b"], text: [1, 2]}))
    resource = redactor(*rules).fields("resource", {"host.name": text, text: "x"})
    assert_not_sent(Envelope(resource).request(recorded._entries), CANARY)


@pytest.mark.parametrize(
    "rows",
    [
        [{"user": {"ssn": "123-45"}}, {"user": "guest"}],
        pd.DataFrame({"user": [{"ssn": "123-45"}, "guest"]}),
        pd.DataFrame({"user": [{"ssn": "123-45"}, {"ssn": "123-45"}]}),
    ],
    ids=["dicts", "mixed", "alike"],
)
def test_nested_values_of_tables_are_redacted(rows: Any) -> None:
    """What a rule takes out of a nested value is out of it in a table, also where values are mixed."""
    with capture(redact=[redact.drop("inputs.user.ssn")]) as kept:
        lapwing.watch(lambda rows: [1] * len(rows), model="m")(rows)
    assert len(kept.predictions) == 2
    assert "123-45" not in str(kept.predictions)


def test_nested_labels_of_tables_are_redacted() -> None:
    """Labels that are maps in some rows only are redacted in these."""
    labels = [{"prediction_id": "a", "label": {"ssn": "123-45"}}, {"prediction_id": "b", "label": 3}]
    with capture(redact=[redact.drop("label.ssn")]) as kept:
        lapwing.log_labels(labels, model="m")
    assert len(kept.labels) == 2
    assert "123-45" not in str(kept.labels)


def test_an_argument_that_is_cut_is_not_sent_half() -> None:
    """A nested constant that is too large for every row is withheld, as nobody can look into its half."""
    user = {"ssn": "123-45", "history": ["x" * 60] * 20}
    with capture(redact=[redact.drop("inputs.user.ssn")], loud=False) as kept:
        lapwing.watch(lambda rows, user: [1], model="m")(pd.DataFrame({"a": [1]}), user)
    assert "123-45" not in str(kept.predictions)


def test_what_is_not_recorded_is_not_in_errors_either() -> None:
    """A value that `exclude` leaves out, and a rule covers, does not come by way of the error."""

    def fails(ssn: str) -> None:
        raise ValueError(f"bad {ssn}")

    with capture(redact=[redact.drop("inputs.ssn")]) as kept, pytest.raises(ValueError, match="bad"):
        lapwing.watch(fails, model="m", exclude=["ssn"])("123-45")
    assert "123-45" not in str(kept.predictions)
