"""Adding to YAML files that people wrote: their comments, order and quotes stay as they are."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lapwing_collector.errors import ConfigError


def add_entry(text: str, path: Sequence[str | int], entry: Mapping[str, Any], name: str) -> str:
    """Add `entry` to the end of the list at `path` of YAML `text`; every other byte stays.

    Args:
        text: Valid YAML.
        path: The keys and positions that lead to the list.
        entry: What the new item says.
        name: What messages call the file.

    Raises:
        ConfigError: The list is written in a way that cannot be added to; the message has the lines to add.
    """
    lines = yaml.safe_dump([dict(entry)], sort_keys=False, allow_unicode=True, width=10_000).splitlines()
    place = ".".join(str(part) for part in path)
    refusal = ConfigError(
        "\n".join(
            [f"{name}: add this to {place} yourself; the way it is written there cannot be kept:", *lines]
        )
    )
    node = _at(yaml.compose(text, Loader=yaml.SafeLoader), path)
    if not isinstance(node, yaml.SequenceNode) or node.flow_style or not node.value:
        raise refusal
    written = text.splitlines(keepends=True)
    column = node.start_mark.column
    position = _last_line(node.value[-1]) + 1
    while position < len(written) and _is_note_of(written[position], column):
        position += 1
    end = "\r\n" if written[0].endswith("\r\n") else "\n"
    if not written[position - 1].endswith("\n"):
        written[position - 1] += end
    added = [" " * column + line + end for line in lines]
    result = "".join(written[:position] + added + written[position:])
    expected = yaml.safe_load(text)
    _inside(expected, path).append(dict(entry))
    try:
        if yaml.safe_load(result) == expected:
            return result
    except yaml.YAMLError:
        pass
    raise refusal


def _at(node: yaml.Node | None, path: Sequence[str | int]) -> yaml.Node | None:
    for part in path:
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int):
            node = node.value[part]
        else:
            return None
    return node


def _inside(document: Any, path: Sequence[str | int]) -> Any:
    for part in path:
        document = document[part]
    return document


def _last_line(node: yaml.Node) -> int:
    """The last line that belongs to `node`; the end of a block is told with the comments behind it."""
    if isinstance(node, yaml.MappingNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and node.value and not node.flow_style:
        return _last_line(node.value[-1])
    end: int = node.end_mark.line
    return end if node.end_mark.column > 0 or end == node.start_mark.line else end - 1


def _is_note_of(line: str, column: int) -> bool:
    """Whether a line is a comment that stands deeper than the items of the list, as those of an item do."""
    stripped = line.lstrip(" ")
    return stripped.startswith("#") and len(line) - len(stripped) > column
