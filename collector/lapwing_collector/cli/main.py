"""The command line: arguments in, the right part called, its errors told in one line.

Exit codes: 0 done, 1 it could not be done (the message says why), 2 wrong usage, 130 interrupted.
"""

import gc
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from lapwing_collector.cli.alerts import add_commands as add_alert_commands
from lapwing_collector.cli.annotating import annotate
from lapwing_collector.cli.drill import fire
from lapwing_collector.cli.evaluating import evaluate
from lapwing_collector.cli.evaluations import evaluations_app
from lapwing_collector.cli.groups import Group
from lapwing_collector.cli.importing import labels_app, predictions_app
from lapwing_collector.cli.keeping import AsJson, Config, Data, add_commands, progress
from lapwing_collector.cli.metrics import metrics
from lapwing_collector.cli.models import models_app
from lapwing_collector.cli.notify import notify_app
from lapwing_collector.cli.output import Output, printable
from lapwing_collector.cli.references import reference_app
from lapwing_collector.cli.reporting import report
from lapwing_collector.cli.rule_tools import add_rule_tools
from lapwing_collector.cli.undelivered import add_commands as add_undelivered
from lapwing_collector.cli.upgrading import upgrade
from lapwing_collector.errors import LapwingError
from lapwing_collector.model.given import Given
from lapwing_collector.sandbox import leave_out_pandas

PANELS: Final = {
    "Begin": ("up", "demo", "collect", "serve"),
    "Look": ("sql", "models", "metrics", "report", "annotate"),
    "Rules and alerts": ("rules", "alerts", "why", "silence", "ack", "fire"),
    "Tell people": ("notify", "routes", "dead", "requeue"),
    "Before a release": ("evaluate", "evaluations"),
    "Bring data": ("predictions", "labels", "reference"),
    "Care for the data": (
        "doctor",
        "backup",
        "restore",
        "upgrade",
        "compact",
        "retain",
        "erase",
        "migrate-lake",
        "migrate-state",
    ),
}
"""The commands by what people come for, in the order in which they meet it."""

_GARBAGE: Final = 50_000
"""Objects after which it is looked for: most commands import for longer than they work, which leaves none."""


class _Arranged(Group):
    """Shows commands by what people come for."""

    def panels(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Those of `PANELS`, and what is in none of them."""
        yield from PANELS.items()
        placed = {name for names in PANELS.values() for name in names}
        yield "Others", [name for name in self.commands if name not in placed]


app = typer.Typer(
    name="lapwing",
    cls=_Arranged,
    help="Watches machine-learning models: log predictions, query them with SQL, alert on SQL rules.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # what draws boxes takes longer to import than everything else
)
rules_app = typer.Typer(help="Check, test, explain and back-test rules, close slots.", no_args_is_help=True)
add_commands(app)
add_rule_tools(rules_app)
add_undelivered(app)
app.add_typer(notify_app, name="notify", cls=Group)
add_alert_commands(app)
app.command()(fire)
app.command()(annotate)
app.command()(evaluate)
app.command()(report)
app.command()(upgrade)
app.add_typer(evaluations_app, name="evaluations", cls=Group)
app.add_typer(rules_app, name="rules", cls=Group)
app.add_typer(reference_app, name="reference", cls=Group)
app.add_typer(models_app, name="models", cls=Group)
app.command()(metrics)
app.add_typer(labels_app, name="labels", cls=Group)
app.add_typer(predictions_app, name="predictions", cls=Group)


def main() -> None:
    """Run the command line; never returns."""
    gc.set_threshold(_GARBAGE)
    if sys.argv[1:2] != ["demo"]:  # its flights are a frame of pandas
        leave_out_pandas()
    try:
        app()
    except LapwingError as error:
        print(f"lapwing: {printable(str(error))}", file=sys.stderr)  # noqa: T201  # this is where errors are told
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        import lapwing

        typer.echo(f"lapwing {lapwing.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


Http = Annotated[str | None, typer.Option("--http", help="Where to receive OTLP/HTTP, host:port.")]
Grpc = Annotated[str | None, typer.Option("--grpc", help="Where to receive OTLP/gRPC, host:port.")]
Web = Annotated[
    str | None, typer.Option("--web", help="Where to answer SQL, metrics and commands, host:port.")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Listen beyond this machine, and let everybody send and ask.")
]


@app.command()
def up(  # noqa: PLR0917  # each is an option
    config: Config = None,
    data: Data = None,
    http: Http = None,
    grpc: Grpc = None,
    web: Web = None,
    insecure: Insecure = False,
) -> None:
    """Start the collector: receive predictions, keep them, evaluate rules, notify."""
    _become("up", config, data, _listening(http=http, grpc=grpc, web=web), insecure)


@app.command()
def collect(  # noqa: PLR0917  # each is an option
    config: Config = None,
    data: Data = None,
    http: Http = None,
    grpc: Grpc = None,
    web: Web = None,
    insecure: Insecure = False,
) -> None:
    """Start the part that receives predictions and keeps them; `lapwing serve` does the rest."""
    _become("collect", config, data, _listening(http=http, grpc=grpc, web=web), insecure)


@app.command()
def serve(config: Config = None, data: Data = None, web: Web = None, insecure: Insecure = False) -> None:
    """Start the part that answers people, evaluates rules and notifies; `lapwing collect` receives."""
    _become("serve", config, data, _listening(web=web), insecure)


def _listening(**addresses: str | None) -> dict[str, Given]:
    return {f"{name}.listen": Given(address, f"--{name}") for name, address in addresses.items()}


def _become(
    arrangement: str, config: Path | None, data: Path | None, listen: dict[str, Given], insecure: bool
) -> None:
    from lapwing_collector.cli.becoming import become_supervisor

    become_supervisor(config, {"data": data, **listen, "insecure": insecure or None}, arrangement)


@app.command()
def sql(  # noqa: PLR0917  # typer reads options off parameters
    query: Annotated[str, typer.Argument(help="One SELECT; '-' reads it from standard input.")],
    config: Config = None,
    data: Data = None,
    fmt: Annotated[Output, typer.Option("--format", "-f", help="How to print the rows.")] = Output.TABLE,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, help="Print so many rows at most; query.max_rows by default."),
    ] = None,
    timeout: Annotated[
        str | None, typer.Option("--timeout", help="Stop after so long, 90s or 5m; query.timeout by default.")
    ] = None,
    records: Annotated[
        bool, typer.Option("--expanded", "-x", help="Print a table's rows as blocks, a line for each column.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print the SQL behind the metrics that it calls, run nothing.")
    ] = False,
) -> None:
    """Query predictions, labels, logs and metrics, whether the collector runs or not."""
    from lapwing_collector.app.answers.asking import Asking
    from lapwing_collector.cli.output import write_answer, write_parts

    text = sys.stdin.read() if query == "-" else query
    with (
        Asking.over(config, {"data": data, "query.timeout": Given(timeout, "--timeout")}) as asking,
        asking.answer(text, fmt=fmt.rows, limit=limit, explain=explain) as answer,
    ):
        if explain and fmt is Output.TABLE:
            write_parts(answer.table())
        else:
            write_answer(answer, fmt, records=records)


@app.command()
def demo(
    data: Annotated[
        Path, typer.Option("--data", help="Where the demo keeps its data; emptied first.")
    ] = Path(".demo"),
    once: Annotated[
        bool, typer.Option("--once", help="End with the summary, exit 0 only if what it shows is true.")
    ] = False,
    until: Annotated[
        datetime | None,
        typer.Option("--until", formats=["%Y-%m-%d"], help="Replay the days before this one, of 2013 only."),
    ] = None,
) -> None:
    """Replay ten months of real flights through a model watched by Lapwing, and show what it finds."""
    from lapwing_collector.demo import REPLAY_UNTIL, run_demo

    raise typer.Exit(run_demo(data, once=once, until=until or REPLAY_UNTIL))


@rules_app.command("reload")
def rules_reload(config: Config = None, data: Data = None, as_json: AsJson = False) -> None:
    """Let the collector that runs read its rule files and notify.yaml again; what fires, goes on firing."""
    from lapwing_collector.app.rule_tools.admin import reload_files
    from lapwing_collector.cli.past import show_reloaded

    show_reloaded(reload_files(config, {"data": data}), as_json=as_json)


@rules_app.command("run")
def rules_run(  # noqa: PLR0917  # each is an option
    since: Annotated[str, typer.Option("--from", help="Windows that end after this time, 2026-01-31T12:00.")],
    until: Annotated[str, typer.Option("--to", help="And up to this one; both in UTC.")],
    rules: Annotated[
        list[str] | None, typer.Argument(help="Rules as group/rule; all that are enabled by default.")
    ] = None,
    notify: Annotated[
        bool, typer.Option("--notify", help="Tell people what alerts would have told.")
    ] = False,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate rules over the past: store what they record, show what they would have told."""
    from lapwing_collector.app.rule_tools.backfill import run_rules
    from lapwing_collector.cli.past import show

    with progress() as tell:
        done = run_rules(config, {"data": data}, tell, rules or [], since, until, notify=notify)
    show(done, as_json=as_json)


@rules_app.command("generate")
def rules_generate(  # noqa: PLR0917  # each is an option
    model: Annotated[str, typer.Argument(help="The model.")],
    reference: Annotated[str, typer.Option("--reference", help="What it is expected to be like.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A new rule file; standard output by default.")
    ] = None,
    interval: Annotated[str, typer.Option("--interval", help="How often to look.")] = "1h",
    window: Annotated[str, typer.Option("--window", help="How far back to look.")] = "1d",
    config: Config = None,
    data: Data = None,
) -> None:
    """Write rules that expect of a model what its reference says: ranges, categories, drift, and more."""
    from lapwing_collector.app.answers.asking import Asking
    from lapwing_collector.app.answers.models import asking_rows
    from lapwing_collector.app.rule_tools.generating import generate_rules
    from lapwing_collector.cli.output import write_text
    from lapwing_collector.errors import ConfigError

    with Asking.over(config, {"data": data}) as asking:
        text = generate_rules(asking_rows(asking), model, reference, interval=interval, window=window)
    if output is None:
        write_text(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with output.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise ConfigError(
            f"{output} is there already, and you may have changed it: "
            "remove it first, or name another file with --output"
        ) from error
    except OSError as error:
        raise ConfigError(f"{output}: {error.strerror}") from error
    typer.echo(f"{output}: rules for {model} by its reference {reference}")


@rules_app.command("explain")
def rules_explain(
    rule: Annotated[str, typer.Argument(help="The rule, as group/name, or its name alone.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Print the SQL that a rule is judged by, and what is behind the metrics that it calls."""
    from lapwing_collector.app.serving.metrics import explain_rule
    from lapwing_collector.cli.output import write_text

    write_text(explain_rule(config, {"data": data}, rule))


@rules_app.command("advance")
def rules_advance(
    to: Annotated[str, typer.Option("--to", help="Event time in UTC, 2026-01-31T12:00.")],
    config: Config = None,
    data: Data = None,
) -> None:
    """Close every slot up to a time, when no newer data will come: the end of a replay."""
    from lapwing_collector.app.rule_tools.admin import advance_rules

    moment = advance_rules(config, {"data": data}, to)
    typer.echo(f"slots up to {moment:%Y-%m-%d %H:%M} are closed as soon as their data is in")
