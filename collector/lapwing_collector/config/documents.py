"""YAML documents checked against a pydantic schema; mistakes name file, line, key and what was expected."""

import difflib
import os
import re
import reprlib
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Self, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails
from yaml.composer import Composer
from yaml.resolver import Resolver

from lapwing_collector.errors import ConfigError, MistakesError

Schema = TypeVar("Schema", bound=BaseModel)

Mistake = tuple[tuple[str | int, ...], str]
"""Where in a mapping something is wrong (keys and list positions, empty for the mapping itself), and what."""

_DURATION_UNITS_S: Final = {
    "y": 31_536_000,
    "w": 604_800,
    "d": 86_400,
    "h": 3600,
    "m": 60,
    "s": 1,
    "ms": 0.001,
}
_DURATION: Final = re.compile(r"(?:\d{1,15}(?:ms|[ywdhms]))+", re.ASCII)
_DURATION_PART: Final = re.compile(r"(\d+)(ms|[ywdhms])", re.ASCII)
_REFERENCE: Final = re.compile(r"\$\{(env|file):([^}]*)\}")
_NOWHERE: Final = yaml.Mark("", 0, 0, 0, "", 0)
_EMPTY: Final = yaml.MappingNode("tag:yaml.org,2002:map", [], _NOWHERE, _NOWHERE)
_TEXT_TAGS: Final = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


class PlacedError(ValueError):
    """What a validator finds wrong at one place of a text that may have many lines.

    Attributes:
        position: The character of the text, counted from 0.
    """

    def __init__(self, message: str, position: int) -> None:
        """Keep the message and the place."""
        super().__init__(message)
        self.position = position


class Document(BaseModel):
    """Base for schemas of what people write: unknown keys are mistakes, and no value is bent to fit."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)

    @classmethod
    def mistakes(cls, raw: Mapping[Any, Any]) -> Iterable[Mistake]:  # noqa: ARG003  # for subclasses
        """Find what is wrong between keys of the mapping as written; found beside mistakes inside keys."""
        return ()

    @model_validator(mode="wrap")
    @classmethod
    def _collect(cls, raw: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        between = [
            InitErrorDetails(type="value_error", loc=place, input=raw, ctx={"error": ValueError(text)})
            for place, text in (cls.mistakes(raw) if isinstance(raw, dict) else ())
        ]
        if not between:
            return handler(raw)
        try:
            handler(raw)
        except ValidationError as error:
            inside = [
                InitErrorDetails(type=d["type"], loc=d["loc"], input=d["input"], ctx=d.get("ctx", {}))
                for d in error.errors(include_url=False)
            ]
            raise ValidationError.from_exception_data(cls.__name__, inside + between) from error
        raise ValidationError.from_exception_data(cls.__name__, between)


class _Loader(yaml.SafeLoader):
    """YAML's safe types except timestamps: dates stay text, which a schema may read as it sees fit."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own way to say it
        first: [(tag, form) for tag, form in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def _composed(text: str) -> Any:
    """The nodes of a document; None of an empty one."""
    if yaml.__with_libyaml__:
        from yaml._yaml import CParser  # noqa: PLC0415  # which not every build of PyYAML has

        class Fast(Composer, CParser, Resolver):
            """Scans with libyaml, ten times as fast; composing with it, too, crashes on deep nesting."""

            yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

            def __init__(self) -> None:
                CParser.__init__(self, text)
                Composer.__init__(self)
                Resolver.__init__(self)

        with suppress(yaml.YAMLError):  # PyYAML itself takes a little more, and says better what is wrong
            return Fast().get_single_node()
    return yaml.compose(text, Loader=_Loader)


def parse_duration(text: str) -> timedelta:
    """Read a duration as Prometheus writes it: `90s`, `1h30m`, `7d`, `0s`; a bare `0` is zero.

    Raises:
        ValueError: It is not one, or longer than 100 years.
    """
    if text == "0":
        return timedelta(0)
    if not _DURATION.fullmatch(text):
        meant = f": write {text}s or {text}d" if text.isascii() and text.isdigit() else ""
        raise ValueError(f"a duration such as 90s, 1h30m or 7d, not {text!r}{meant}")
    parts = _DURATION_PART.findall(text)
    seconds = sum(int(count) * _DURATION_UNITS_S[unit] for count, unit in parts)
    if seconds > 100 * _DURATION_UNITS_S["y"]:
        raise ValueError(f"a duration of at most 100y, not {text!r}")
    return timedelta(seconds=seconds)


def expectation(text: str) -> str:
    """What a validator says, as a sentence: what it names is what it expected."""
    return f"expected {text}" if text.startswith(("a ", "an ", "one ")) else text


def resolve_references(text: str, folder: Path = Path()) -> str:  # a path never changes
    """Put in what `${env:NAME}` and `${file:PATH}` in a text stand for; paths start at `folder`.

    Raises:
        ConfigError: A variable is not set, or a file can not be read.
    """
    return _REFERENCE.sub(lambda match: _reference_value(match, folder), text)


def referenced_files(text: str, folder: Path = Path()) -> list[Path]:  # a path never changes
    """The files that a text says by `${file:PATH}`; paths start at `folder`."""
    return [folder / where for kind, where in _REFERENCE.findall(text) if kind == "file"]


def read_document(path: Path, schema: type[Schema]) -> Schema:
    """Read the YAML file at `path` into `schema`.

    Raises:
        ConfigError: The file cannot be read, is not YAML, or does not fit; the message has a line
            `file:line: key: what is wrong` for every mistake found. Keys that stand twice or are no text are
            told before anything else is looked at.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: byte {error.start} does not fit") from error
    return parse_document(text, schema, str(path), folder=path.parent)


def parse_document(
    text: str,
    schema: type[Schema],
    name: str,
    context: Mapping[str, Any] | None = None,
    folder: Path = Path(),  # a path never changes
) -> Schema:
    """Read YAML `text`, called `name` in messages, into `schema`; `context` is passed to its validators.

    Secrets are written as `${env:NAME}` or `${file:PATH}` inside any text value and are put in here; paths
    start at `folder`.

    Raises:
        ConfigError: As `read_document`.
    """
    try:
        root = _composed(text) or _EMPTY
        mistakes = list(_wrong_keys(root))
        data = _Loader("").construct_document(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise MistakesError(name, [(line, f"is not valid YAML: {error.problem}")]) from error
    except (yaml.YAMLError, ValueError) as error:
        what = f"is not valid YAML: {' '.join(str(error).split())}"
        raise MistakesError(name, [(None, what)]) from error
    except RecursionError as error:
        raise MistakesError(name, [(None, "is nested too deeply, or holds itself")]) from error
    if mistakes:
        raise MistakesError(name, sorted(mistakes))
    mistakes += _fill_references(data, root, folder, "")
    told = {line for line, _ in mistakes}
    try:
        document = schema.model_validate({} if data is None else data, context=dict(context or {}))
    except ValidationError as error:
        found = {_mistake(detail, root, schema, text) for detail in error.errors(include_url=False)}
        mistakes += [(line, what) for line, what in found if line not in told]
    else:
        if not mistakes:
            return document
    raise MistakesError(name, sorted(mistakes))


def places_in(text: str) -> Callable[[Sequence[str | int], int], int]:
    """Give what finds the line, in the YAML `text`, of a character of the value at a path of keys.

    For mistakes that show only once a document, which is valid, is put to use.
    """
    root = _composed(text) or _EMPTY

    def line_of(path: Sequence[str | int], position: int) -> int:
        line, _, node = _place(list(path), root)
        return _line_at(position, node, text) if isinstance(node, yaml.ScalarNode) else line

    return line_of


def excerpts_in(text: str) -> Callable[[Sequence[str | int]], tuple[int, str]]:
    """Give what finds, in the YAML `text`, the first line of the value at a path of keys, and its lines.

    The lines are as they were written, less the indentation that they share.
    """
    root = _composed(text) or _EMPTY

    def excerpt(path: Sequence[str | int]) -> tuple[int, str]:
        line, _, node = _place(list(path), root)
        start, last = node.start_mark, _last(node)
        written = text[start.index : last.end_mark.index].rstrip()
        folded = isinstance(last, yaml.ScalarNode) and last.style in {"|", ">"}
        if last is not node and not folded:  # a comment behind it belongs to it
            written += text[start.index + len(written) :].partition("\n")[0].rstrip()
        return line, textwrap.dedent(" " * start.column + written)

    return excerpt


def without_items(text: str, lines: set[int], keys: Sequence[str], instead: Callable[[int], str]) -> str:
    """The YAML `text` with something else in the place of wrong items, and all others in the lines they had.

    Args:
        text: As it was written; given back where it is no YAML.
        lines: Those that have mistakes.
        keys: Of the lists, one in the items of the one before it, whose last one's items are replaced.
        instead: What stands for one of these items, by its number; in one line.
    """
    try:
        root = _composed(text) or _EMPTY
    except (yaml.YAMLError, ValueError, RecursionError):
        return text
    for number, node in reversed(list(enumerate(_items(root, keys)))):
        start, end = node.start_mark, node.end_mark
        written = text[start.index : end.index].rstrip()
        if not lines.isdisjoint(range(start.line + 1, start.line + 2 + written.count("\n"))):
            rest = text[start.index + len(written) :]
            text = text[: start.index] + instead(number) + "\n" * written.count("\n") + rest
    return text


def _items(node: yaml.Node, keys: Sequence[str]) -> Iterator[yaml.Node]:
    if not keys:
        yield node
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == keys[0] and isinstance(value, yaml.SequenceNode):
                for item in value.value:
                    yield from _items(item, keys[1:])


def _last(node: yaml.Node) -> yaml.Node:
    """What stands last in a node; the end of a block is where the next thing begins, after comments."""
    while isinstance(node, yaml.MappingNode | yaml.SequenceNode) and node.value and not node.flow_style:
        last = node.value[-1]
        node = last[1] if isinstance(node, yaml.MappingNode) else last
    return node


def _line_at(position: int, node: yaml.ScalarNode, text: str) -> int:
    """The line of a character of a text value.

    YAML takes indentation and line ends out of texts and leaves all other characters in their order.
    """
    first: int = node.start_mark.line + 1
    at: int = node.start_mark.index
    if node.style == '"':  # what is written differs from what is meant
        return first
    if node.style in {"|", ">"}:
        at = text.find("\n", at) + 1
    elif node.style == "'":
        at += 1
    solid = len("".join(node.value[:position].split()))
    for found in re.finditer(r"\S", text[at : node.end_mark.index]):
        if not solid:
            return text.count("\n", 0, at + found.start()) + 1
        solid -= 1
    return text.count("\n", 0, len(text[: node.end_mark.index].rstrip())) + 1


def _wrong_keys(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Find keys that stand twice in one mapping, and keys that are no text."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                continue  # YAML's own mistake, found when the mapping is made
            if key.tag not in _TEXT_TAGS:
                yield line, f"{key.value}: expected a text as key; put it in quotes"
            elif key.value in seen:
                yield line, f"{key.value}: stands here twice (first in line {seen[key.value]})"
            else:
                seen[key.value] = line
            yield from _wrong_keys(value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _wrong_keys(value)


def _fill_references(data: Any, node: yaml.Node, folder: Path, above: str) -> Iterator[tuple[int, str]]:
    """Put in the values of `${env:…}` and `${file:…}` in place; yields what is unset or unreadable."""
    entries: Iterable[tuple[Any, Any]]
    if isinstance(data, dict) and isinstance(node, yaml.MappingNode):
        entries = data.items()
        children = {key.value: value for key, value in node.value}
    elif isinstance(data, list) and isinstance(node, yaml.SequenceNode):
        entries = enumerate(data)
        children = dict(enumerate(node.value))
    else:
        return
    for key, value in list(entries):
        child = children.get(key)
        if child is None:
            continue
        path = _below(above, key)
        if isinstance(value, str) and "${" in value:
            try:
                data[key] = resolve_references(value, folder)
            except ConfigError as error:
                yield child.start_mark.line + 1, f"{path}: {error}"
        else:
            yield from _fill_references(value, child, folder, path)


def _below(path: str, part: int | str) -> str:
    """What is in something at a path, as people write it."""
    if isinstance(part, int):
        return f"{path}[{part}]"
    return f"{path}.{part}" if path else part


def _reference_value(match: re.Match[str], folder: Path) -> str:
    kind, where = match.groups()
    if kind == "env":
        value = os.environ.get(where)
        if value is None:
            raise ConfigError(f"the environment variable {where} is not set")
        return value
    try:
        return (folder / where).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"the file {where} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"the file {where} is not UTF-8 text") from error


def _mistake(detail: ErrorDetails, root: yaml.Node, schema: type[BaseModel], source: str) -> tuple[int, str]:
    path = [part for part in detail["loc"] if not _is_pydantic_own(part)]
    line, key, node = _place(path, root)
    match detail["type"]:
        case "extra_forbidden":
            return line, f"{key}: {_unknown_key(str(path[-1]), _model_at(path[:-1], schema))}"
        case "missing":
            return line, f"{key}: is missing"
        case "value_error":
            error = detail["ctx"]["error"]
            text = str(error)
            if isinstance(error, PlacedError) and isinstance(node, yaml.ScalarNode):
                line = _line_at(error.position, node, source)
            return line, f"{key}: {expectation(text)}"
        case "model_type" | "dict_type":
            return line, f"{key}: expected a mapping, not {_shown(detail['input'], node)}"
        case _:
            expected = detail["msg"].removeprefix("Input should be ")
            return line, f"{key}: expected {expected}, not {_shown(detail['input'], node)}"


def _is_pydantic_own(part: int | str) -> bool:
    return isinstance(part, str) and (part == "[key]" or part.startswith(("function-", "tagged-")))


def _unknown_key(key: str, model: type[BaseModel] | None) -> str:
    if model is None:
        return "is not a key here"
    known = sorted(field.alias or name for name, field in model.model_fields.items())
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"
    return f"is not a key here; {hint}"


def _shown(value: Any, node: yaml.Node) -> str:
    """Show a wrong value; one with a reference as it was written, because what was put in is a secret."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if isinstance(node, yaml.ScalarNode) and "${" in node.value:
        return repr(node.value)
    return reprlib.repr(value)


def _place(path: list[int | str], root: yaml.Node) -> tuple[int, str, yaml.Node]:
    """Line of the deepest part of `path` that the file has, the path as people write it, and that part."""
    node, line, key = root, root.start_mark.line + 1, ""
    for part in path:
        key = _below(key, part)
        if isinstance(node, yaml.MappingNode):
            for key_node, value_node in node.value:
                if key_node.value == part:
                    node, line = value_node, key_node.start_mark.line + 1
                    break
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
    return line, key or "document", node


def _model_at(path: list[int | str], schema: type[BaseModel]) -> type[BaseModel] | None:
    """The schema of the mapping at `path`, as far as the schemas on the way tell."""
    annotation: Any = schema
    for part in path:
        annotation = _annotation_at(part, annotation)
    return next(_models_in(annotation), None)


def _annotation_at(part: int | str, annotation: Any) -> Any:
    """The type of what stands at `part` of a value of type `annotation`; None where that is unknown."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields.items()
        return next((field.annotation for name, field in fields if part == (field.alias or name)), None)
    arguments = get_args(annotation)
    if get_origin(annotation) in {dict, list, tuple}:
        return arguments[-1] if isinstance(part, str) else arguments[0]
    found = (_annotation_at(part, argument) for argument in arguments)
    return next((inner for inner in found if inner is not None), None)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
