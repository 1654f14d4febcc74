"""YAML documents and the mistakes in them."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo

from lapwing_collector.config import Document, parse_document, parse_duration, read_document
from lapwing_collector.config.documents import Mistake
from lapwing_collector.errors import ConfigError


def _even(value: int, info: ValidationInfo) -> int:
    if value % ((info.context or {}).get("divisor", 2)):
        raise ValueError("an even number")
    return value


class Target(Document):
    """An item of lists and mappings."""

    url: str
    retries: int = 0
    kind: Literal["mail", "web"] = "web"

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterator[Mistake]:
        """Two keys that exclude each other."""
        if "retries" in raw and raw.get("kind") == "mail":
            yield ("retries",), "has no meaning for mail"


class Settings(Document):
    """A whole document."""

    name: str = "n"
    size: Annotated[int, AfterValidator(_even)] = 0
    targets: list[Target] = Field(default_factory=list)
    by_name: dict[str, Target] = Field(default_factory=dict)
    first: Target | None = None


class Loose(BaseModel):
    """A schema that is no `Document`."""

    model_config = ConfigDict(extra="forbid")

    size: int = 0


def mistakes(text: str, schema: type[BaseModel] = Settings, **more: Any) -> list[str]:
    """The lines of the error, without the file's name."""
    with pytest.raises(ConfigError) as error:
        parse_document(text, schema, "f.yaml", **more)
    return [line.removeprefix("f.yaml:") for line in str(error.value).splitlines()]


def test_a_document_that_fits_becomes_its_schema() -> None:
    """Nested values, anchors and merge keys arrive in the schema."""
    text = "targets: [&a {url: x}, {<<: *a, retries: 2}]\nby_name: {m: {url: y, kind: mail}}\n"
    settings = parse_document(text, Settings, "f.yaml")
    assert settings.targets == [Target(url="x"), Target(url="x", retries=2)]
    assert settings.by_name["m"].kind == "mail"


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_an_empty_document_has_the_defaults(text: str) -> None:
    """A file without keys is a document without keys."""
    assert parse_document(text, Settings, "f.yaml") == Settings()


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("nmae: x", ["1: nmae: is not a key here; did you mean name?"]),
        ("zzz: x", ["1: zzz: is not a key here; expected one of by_name, first, name, size, targets"]),
        (
            "by_name:\n  m:\n    ulr: x",
            ["2: by_name.m.url: is missing", "3: by_name.m.ulr: is not a key here; did you mean url?"],
        ),
        ("first: {url: x, kinds: a}", ["1: first.kinds: is not a key here; did you mean kind?"]),
        ("name: 5", ["1: name: expected a valid string, not 5"]),
        ("size: '4'", ["1: size: expected a valid integer, not '4'"]),
        ("size: 3", ["1: size: expected an even number"]),
        ("first: {url: x, kind: fax}", ["1: first.kind: expected 'mail' or 'web', not 'fax'"]),
        (
            "first: x\ntargets: {}",
            ["1: first: expected a mapping, not 'x'", "2: targets: expected a valid list, not a mapping"],
        ),
        ("by_name: [1]", ["1: by_name: expected a mapping, not a list"]),
        ("- a", ["1: document: expected a mapping, not a list"]),
        (
            "first:\n  retries: 1\n  kind: mail",
            ["1: first.url: is missing", "2: first.retries: has no meaning for mail"],
        ),
        ("name: a\nname: b\nsize: x", ["2: name: stands here twice (first in line 1)"]),
        ("first: {url: a, url: b}", ["1: url: stands here twice (first in line 1)"]),
    ],
)
def test_a_mistake_is_told_with_line_key_and_what_was_expected(text: str, lines: list[str]) -> None:
    """All mistakes of a document come at once, in the order of its lines."""
    assert mistakes(text) == lines


def test_a_schema_that_is_no_document_is_told_of_too() -> None:
    """Any pydantic schema can be read into."""
    assert mistakes("sise: 1", Loose) == ["1: sise: is not a key here; did you mean size?"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1", "1: is not valid YAML: expected ',' or ']', but got '<stream end>'"),
        ("a: b: c", "1: is not valid YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", "2: is not valid YAML: but found another document"),
        ("a: *b", "1: is not valid YAML: found undefined alias 'b'"),
        (
            "name: !!python/name:os.system x",
            "1: is not valid YAML: could not determine a constructor for the tag",
        ),
        ("<<: 3", "1: is not valid YAML: expected a mapping or list of mappings for merging"),
        ("size: !!int x", " is not valid YAML: invalid literal for int()"),
        ("name: \0", " is not valid YAML: unacceptable character #x0000"),
        ("name: &x [*x]", " is nested too deeply, or holds itself"),
        ("[" * 100_000, " is nested too deeply, or holds itself"),
        ("? [a]\n: b", "1: is not valid YAML: found unhashable key"),
        ("on: b", "1: on: expected a text as key; put it in quotes"),
        ("by_name: {1: {url: x}}", "1: 1: expected a text as key; put it in quotes"),
    ],
)
def test_what_is_no_yaml_mapping_is_refused(text: str, line: str) -> None:
    """Whatever the text is, the answer is one line that says where and why."""
    (got,) = mistakes(text)
    assert got.startswith(line)


@given(st.text(st.sampled_from("ab:-[]{}&*!?|>'\"#%@,~<= \n\t0\u00e9\ufeff\x85"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text brings anything but a document or a ConfigError."""
    with suppress(ConfigError):
        assert isinstance(parse_document(text, Settings, "f.yaml"), Settings)


def test_dates_are_text() -> None:
    """A value that looks like a date stays what was written, even an impossible one."""
    assert parse_document("name: 2013-03-01", Settings, "f.yaml").name == "2013-03-01"
    assert parse_document("name: 2013-99-99", Settings, "f.yaml").name == "2013-99-99"


def test_validators_are_given_the_context() -> None:
    """What the caller passes reaches the schema's validators."""
    assert parse_document("size: 9", Settings, "f.yaml", {"divisor": 3}).size == 9


def test_references_are_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Secrets come from the environment or from files, inside any text."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    monkeypatch.setenv("HOST", "example.com")
    text = f"targets: [{{url: 'https://${{env:HOST}}/${{file:{secret}}}'}}]\nname: '${{other}}'"
    settings = parse_document(text, Settings, "f.yaml")
    assert settings.targets[0].url == "https://example.com/s3cret"
    assert settings.name == "${other}"


def test_a_reference_that_cannot_be_filled_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unset variables and unreadable files are told beside all other mistakes."""
    monkeypatch.delenv("NOPE", raising=False)
    (tmp_path / "binary").write_bytes(b"\xff")
    text = (
        f"name: ${{env:NOPE}}\nfirst: {{url: '${{file:{tmp_path}/none}}'}}\n"
        f"targets: [{{url: '${{file:{tmp_path}/binary}}'}}]\nsize: x"
    )
    assert mistakes(text) == [
        "1: name: the environment variable NOPE is not set",
        f"2: first.url: the file {tmp_path}/none cannot be read: No such file or directory",
        f"3: targets[0].url: the file {tmp_path}/binary is not UTF-8 text",
        "4: size: expected a valid integer, not 'x'",
    ]


@pytest.mark.parametrize(
    "text", ["size: '${env:SECRET}'", "first: '${env:SECRET}'", "targets: '${env:SECRET}'"]
)
def test_a_secret_is_never_shown(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message about a value that came from a reference shows the reference."""
    monkeypatch.setenv("SECRET", "s3cret")
    (line,) = mistakes(text)
    assert "s3cret" not in line
    assert "${env:SECRET}" in line


def test_a_file_is_read_by_its_path(tmp_path: Path) -> None:
    """Messages name the file as it was given."""
    file = tmp_path / "f.yaml"
    file.write_text("name: ü", encoding="utf-8")
    assert read_document(file, Settings).name == "ü"
    file.write_bytes(b"name: \xff")
    with pytest.raises(ConfigError, match=r"f\.yaml: is not UTF-8 text: byte 6 does not fit"):
        read_document(file, Settings)
    with pytest.raises(ConfigError, match=r"none\.yaml: cannot be read: No such file or directory"):
        read_document(tmp_path / "none.yaml", Settings)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("90s", 90),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("1y", 31_536_000),
        ("1500ms", 1.5),
    ],
)
def test_a_duration_is_read_as_prometheus_writes_it(text: str, seconds: float) -> None:
    """Numbers with units add up."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text",
    ["", "5", "s", "1.5h", "-1s", "1h 30m", "1H", "1s\n", "٣s", "1hm", "9" * 400 + "ms", "9" * 5000 + "s"],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    """The message shows what a duration looks like."""
    with pytest.raises(ValueError, match="a duration such as 90s, 1h30m or 7d, not"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["101y", "9" * 15 + "ms", "99y1y1d"])
def test_a_duration_without_end_is_refused(text: str) -> None:
    """Durations stay within what times can be moved by."""
    with pytest.raises(ValueError, match="a duration of at most 100y"):
        parse_duration(text)


@given(
    st.lists(
        st.tuples(st.integers(0, 500), st.sampled_from(["d", "h", "m", "s", "ms"])), min_size=1, max_size=5
    )
)
def test_a_duration_is_the_sum_of_its_parts(parts: list[Any]) -> None:
    """Each part counts by its unit, in any order."""
    units = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds", "ms": "milliseconds"}
    text = "".join(f"{count}{unit}" for count, unit in parts)
    assert parse_duration(text) == sum(
        (timedelta(**{units[unit]: count}) for count, unit in parts), timedelta(0)
    )
