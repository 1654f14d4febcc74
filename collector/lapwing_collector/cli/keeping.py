"""Commands that keep a data directory in order: compact, retain, erase, backup, restore, doctor, moving.

Exit codes: 0 done, 1 it could not be done or something is wrong (the output says what), 2 wrong usage.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[
    Path | None,
    typer.Option("--config", help="Settings file; lapwing.yaml of this folder if there is one."),
]
Data = Annotated[Path | None, typer.Option("--data", help="Data directory; ./lapwing-data by default.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

Tell = Callable[[str, int, int], None]


def add_commands(app: typer.Typer) -> None:
    """Give the command line these commands."""
    for command in (compact, retain, erase, backup, restore, doctor, migrate_lake, migrate_state):
        app.command()(command)


def compact(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Merge the small files of every table now; the collector does it by and by."""
    from lapwing_collector.app.upkeep.keeping import compact as work

    with progress() as tell:
        done = work(config, {"data": data}, tell)
    say(
        done,
        f"{done['files_before']:,} files are now {done['files_after']:,}, "
        f"{_size(done['bytes_before'])} are {_size(done['bytes_after'])}",
        as_json=as_json,
    )


def retain(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Remove rows that the settings under `retention` keep no longer, now; the collector does it hourly."""
    from lapwing_collector.app.upkeep.keeping import retain as work

    with progress() as tell:
        done = work(config, {"data": data}, tell)
    say(done, f"{done['rows_removed']:,} rows of {done['files_removed']:,} files are gone", as_json=as_json)


def erase(  # noqa: PLR0917  # typer passes them by name
    model: Annotated[str, typer.Option("--model", "-m", help="The model's table.")],
    ids: Annotated[list[str] | None, typer.Option("--id", help="A prediction id; may be repeated.")] = None,
    request_ids: Annotated[
        list[str] | None, typer.Option("--request-id", help="A request id; may be repeated.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="FIELD=VALUE such as tags.user=u-17; any of several is enough."),
    ] = None,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Remove every prediction and label of a subject from every file, and keep a proof in `erasures`.

    Exits with 1 where something that names the subject is left; it is listed.
    """
    from lapwing_collector.app.upkeep.keeping import erase as work

    with progress() as tell:
        done = work(
            config,
            {"data": data},
            tell,
            table=model,
            ids=ids or [],
            request_ids=request_ids or [],
            where=where or [],
        )
    lines = [
        f"{done['predictions']:,} predictions and {done['labels']:,} labels of {model} are erased",
        f"{done['reference_rows']:,} rows of its references are, too",
        f"{done['files_rewritten']:,} files were written anew and {done['files_deleted']:,} deleted",
        "backups made before still have them: let them expire",
    ]
    if not done["verified"]:
        lines += ["still there, for you to look at:", *(f"  {each}" for each in done["remaining"])]
    say(done, "\n".join(lines), as_json=as_json)
    if not done["verified"]:
        raise typer.Exit(1)


def migrate_lake(
    to: Annotated[Path, typer.Option("--to", help="Settings file that says where the lake is to be.")],
    switch: Annotated[
        bool,
        typer.Option(
            "--switch",
            help="Come to the end while the collector runs: until it is started with the new settings, it "
            "keeps what comes in its log.",
        ),
    ] = False,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take the lake to PostgreSQL and object storage, or back, verified row by row.

    The alert state goes along where the settings name another place for it. While the collector runs, only
    files are copied, and everything goes on; with --switch the rest of the lake is, too, which takes seconds.
    What was interrupted goes on where it was. The old lake and state stay as they are.
    """
    from lapwing_collector.app.upkeep.moving import migrate_lake as work

    with progress() as tell:
        done = work(config, {"data": data}, to, tell, switch=switch)
    lines = [f"{done['files_copied']:,} files were copied from {done['from']} to {done['to']}"]
    if done["finished"]:
        lines += [
            f"{done['rows']:,} rows of {len(done['tables']):,} tables are there, read back and compared",
            *([] if done["state"] is None else [_state_is_there(done["state"])]),
            "what was is as it was, delete it when you need it no more",
            f"put {to} in the place of the collector's settings and restart it (SIGHUP, `systemctl reload`); "
            "until then it answers from the old lake and keeps what comes in its log"
            if done["collector_runs"]
            else f"start the collector with {to}",
        ]
    else:
        lines.append("the collector goes on: say this again with --switch when you want to change over")
    say(done, "\n".join(lines), as_json=as_json)


def migrate_state(
    to: Annotated[Path, typer.Option("--to", help="Settings file that says where alerts are to be kept.")],
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Take alerts, messages and silences to PostgreSQL, or back, verified row by row.

    Stop all that work with them first. It is done as a whole or not at all; the old state stays as it is.
    Where the lake goes elsewhere, too, `migrate-lake` takes both.
    """
    from lapwing_collector.app.upkeep.moving import migrate_state as work

    with progress() as tell:
        done = work(config, {"data": data}, to, tell)
    lines = [
        _state_is_there(done["rows"]),
        f"start the collector with {to}; {done['from']} is as it was, delete it when you need it no more",
    ]
    say(done, "\n".join(lines), as_json=as_json)


def _state_is_there(rows: Mapping[str, int]) -> str:
    return f"{sum(rows.values()):,} rows of alerts and messages are there, read back and compared"


def backup(
    target: Annotated[Path, typer.Argument(help="A folder that does not exist yet.")],
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Copy the data directory while it is used; nothing that was acknowledged before is missing."""
    from lapwing_collector.app.upkeep.keeping import backup as work

    with progress() as tell:
        done = work(config, {"data": data}, tell, target)
    lines = [f"{target}: {done['files']:,} files, {_size(done['bytes'])}"]
    if done.get("state_elsewhere"):
        lines.append(
            f"without the alert state, which is in {done['state_elsewhere']}: "
            "take it with pg_dump before each backup"
        )
    say(done, "\n".join(lines), as_json=as_json)


def restore(
    source: Annotated[Path, typer.Argument(help="A folder that `lapwing backup` made.")],
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Make a data directory of a backup, and verify every file of it."""
    from lapwing_collector.app.upkeep.keeping import restore as work

    with progress() as tell:
        done = work(config, {"data": data}, tell, source)
    lines = [f"restored as of {done['taken_at']}, {done['files']:,} files verified"]
    if done.get("state_elsewhere"):
        lines.append(
            f"the alert state was in {done['state_elsewhere']}: restore the dump that was taken before this "
            "backup with pg_restore, before a collector starts"
        )
    say(done, "\n".join(lines), as_json=as_json)


def doctor(
    config: Config = None,
    data: Data = None,
    scrub: Annotated[
        bool, typer.Option("--scrub", help="Read every page of every file, and set damaged files aside.")
    ] = False,
    rebuild_catalog: Annotated[
        bool,
        typer.Option("--rebuild-catalog", help="Put the last copy of a damaged catalog in its place."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Examine a data directory; exits with 1 where something is wrong, and says what to do."""
    from lapwing_collector.app.upkeep.doctor import examine

    with progress() as tell:
        findings = examine(config, {"data": data}, tell, scrub_files=scrub, rebuild=rebuild_catalog)
    if as_json:
        print(json.dumps([each.as_dict() for each in findings], indent=1))  # noqa: T201  # what is asked for
    else:
        _show(findings)
    if any(each.wrong for each in findings):
        raise typer.Exit(1)


def _show(findings: "list[Any]") -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, padding=(0, 1))
    table.add_column()
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for each in findings:
        mark = Text("✗", style="bold red") if each.wrong else Text("✓", style="green")
        table.add_row(mark, Text(each.subject), Text(each.text))
    Console().print(table)


@contextmanager
def progress() -> Iterator[Tell]:
    """A bar on a terminal; nothing where nobody looks."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def tell(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total)

        yield tell


def say(done: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print what was done, for people or for scripts."""
    sys.stdout.write((json.dumps(dict(done)) if as_json else text) + "\n")


def _size(size_bytes: int) -> str:
    size = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} TB"
