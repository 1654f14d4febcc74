"""Writes the references of the command line and of the HTTP API from the code that answers to them.

Run it as `python docs/reference.py` after a change to a command or to an address of the API.
"""

import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, cast

from typer.core import TyperArgument, TyperGroup
from typer.main import get_command

from lapwing_collector.cli.main import PANELS, app
from lapwing_collector.web.openapi import DOCUMENT

FOLDER = Path(__file__).parent
MARK = "<!-- what follows is written by reference.py -->\n"
"""What stands before it on a page is written by people."""
COMMON = {
    "--config": "Settings file; lapwing.yaml of this folder if there is one.",
    "--data": "Data directory; ./lapwing-data by default.",
    "--json": "Print JSON, for scripts.",
}
"""Options that mean the same wherever they have these words; the page tells them once."""


def pages() -> dict[str, str]:
    """What the pages have to be, by their names."""
    return {
        "cli.md": _page("cli.md", _commands()),
        "http-api.md": _page("http-api.md", _operations(DOCUMENT)),
    }


def _page(name: str, lines: Iterator[str]) -> str:
    told, mark, _ = (FOLDER / name).read_text(encoding="utf-8").partition(MARK)
    return told + mark + "".join(f"\n{line}\n" for line in lines)


def _commands() -> Iterator[str]:
    root = cast("TyperGroup", get_command(app))
    for panel, names in PANELS.items():
        yield f"## {panel}"
        for name in names:
            yield from _command(f"lapwing {name}", root.commands[name])


def _command(path: str, command: Any) -> Iterator[str]:
    inner = command.commands if isinstance(command, TyperGroup) else {}
    if not inner or command.invoke_without_command:
        yield f"### {path}"
        arguments = [each for each in command.params if isinstance(each, TyperArgument)]
        options = [each for each in command.params if not isinstance(each, TyperArgument)]
        usage = [path, *map(_usage, arguments), *(["[OPTIONS]"] if options else [])]
        yield f"`{' '.join(usage)}`"
        yield _told(command.help)
        if rows := [_row(each) for each in (*arguments, *options) if not _is_common(each)]:
            yield "| | Default | |\n|---|---|---|\n" + "\n".join(rows)
        if common := [f"`{each.opts[0]}`" for each in options if _is_common(each)]:
            yield f"Also {', '.join(common)}."
    for name, each in inner.items():
        yield from _command(f"{path} {name}", each)


def _is_common(parameter: Any) -> bool:
    return COMMON.get(parameter.opts[0]) == parameter.help


def _usage(argument: Any) -> str:
    name = argument.name.upper() + ("…" if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _row(parameter: Any) -> str:
    if isinstance(parameter, TyperArgument):
        names = f"`{parameter.name.upper()}`"
    else:
        names = ", ".join(f"`{name}`" for name in (*parameter.opts, *parameter.secondary_opts))
    return f"| {names} | {_default(parameter)} | {_cell(parameter.help)} |"


def _default(parameter: Any) -> str:
    match parameter.default:
        case _ if parameter.required:
            return "required"
        case None | bool():
            return ""
        case Enum() as default:
            others = [f"`{each.value}`" for each in type(default) if each is not default]
            return f"`{default.value}`, or {', '.join(others)}"
        case default:
            return f"`{_cell(str(default))}`"


def _operations(document: Mapping[str, Any]) -> Iterator[str]:
    operations = [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    index = "\n".join(
        f"| [`{name}`](#{_anchor(name)}) | {_cell(each['summary'])} |" for name, each in operations
    )
    yield f"| Address | |\n|---|---|\n{index}"
    for name, operation in operations:
        yield f"## {name}"
        yield _told(operation["summary"])
        yield from _asked(operation)
        yield from _answered(operation)


def _asked(operation: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        f"| `{each['name']}` | {each['in']}{', required' if each['required'] else ''} | {_meaning(each)} |"
        for each in (dict({"required": False}, **each) for each in operation.get("parameters", ()))
    ]
    if rows:
        yield "| Parameter | In the | |\n|---|---|---|\n" + "\n".join(rows).replace("| query", "| address")
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    for one in schema.get("oneOf", [schema]):
        rows = [
            f"| `{key}` | {_type(each)} | {_meaning({'schema': each})} |"
            for key, each in one.get("properties", {}).items()
        ]
        if rows:
            yield "| Key of the body | Type | |\n|---|---|---|\n" + "\n".join(rows)


def _answered(operation: Mapping[str, Any]) -> Iterator[str]:
    told = []
    for status, answer in operation["responses"].items():
        kinds = [kind for kind in answer.get("content", {}) if kind != "application/problem+json"]
        if int(status) < 400:
            told.append(f"{status}: {answer['description']}" + (f" ({', '.join(kinds)})" if kinds else ""))
    problems = [status for status in operation["responses"] if int(status) >= 400]
    if problems:
        told.append(f"else {', '.join(problems)}")
    yield "Answers " + "; ".join(told) + "."
    schema = operation["responses"]["200"].get("content", {}).get("application/json", {}).get("schema", {})
    each_of = schema.get("items", schema)
    rows = [
        f"| `{name}` | {_type(each)}{'' if name in each_of['required'] else ', if known'} | "
        f"{_meaning({'schema': each})} |"
        for name, each in each_of.get("properties", {}).items()
    ]
    if rows:
        head = f"| Field of {'each' if 'items' in schema else 'it'} | Type | |\n|---|---|---|\n"
        yield head + "\n".join(rows)


def _type(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type", "string" if "enum" in schema else "")
    names = {"object": "object", "array": "list", "string": "text", "integer": "integer", "number": "number"}
    if kind == "array":
        return "list of " + " or ".join(f"{each}s" for each in _type(schema.get("items", {})).split(" or "))
    if schema.get("format") == "date-time":
        names["string"] = "time"
    return (
        " or ".join(names.get(each, each) for each in ([kind] if isinstance(kind, str) else kind)) or "true"
    )


def _meaning(parameter: Mapping[str, Any]) -> str:
    schema = parameter.get("schema") or parameter["content"]["application/json"]["schema"]
    told = parameter.get("description") or schema.get("description") or ""
    if "enum" in schema:
        told += f" ({', '.join(f'`{each}`' for each in schema['enum'])})"
    if "default" in schema:
        told += f"; `{str(schema['default']).lower()}` unless told"
    return _cell(told)


def _anchor(heading: str) -> str:
    kept = "".join(each for each in heading.lower() if each.isalnum() or each in " -_")
    return kept.replace(" ", "-")


def _told(text: str | None) -> str:
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


def _cell(text: str | None) -> str:
    return _told(text).replace("|", "\\|").replace("*", "\\*")


def main() -> None:
    """Write the pages."""
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{name}\n")


if __name__ == "__main__":
    main()
