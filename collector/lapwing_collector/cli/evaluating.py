"""`lapwing evaluate`: a candidate before its release, judged by the rules that watch production.

Exit codes: 0 it passed, 1 it did not (the output says why), 2 it could not be evaluated: wrong usage, a file
with mistakes, a reference that is not there.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lapwing_collector.cli.keeping import Config
from lapwing_collector.cli.output import printable, write_text
from lapwing_collector.errors import ConfigError, LapwingError

if TYPE_CHECKING:
    from lapwing_collector.gate import Evaluation

NOT_EVALUATED: int = 2
"""Exit code where there is no verdict."""

_STDOUT: Path = Path("-")


Labels = Annotated[
    Path | None, typer.Option("--labels", help="A file with the truth, where --data has none.")
]
Reference = Annotated[
    str | None,
    typer.Option("--reference", help="What drift compares with: a reference of the lake, FILE or NAME=FILE."),
]
Time = Annotated[str | None, typer.Option("--time", help="Column with the time of predictions.")]
Key = Annotated[str | None, typer.Option("--key", help="Column that names predictions.")]
Label = Annotated[str | None, typer.Option("--label", help="Column with the truth.")]
Predicted = Annotated[str | None, typer.Option("--prediction", help="Column with what was predicted.")]
Score = Annotated[
    str | None, typer.Option("--score", help="Column with the probability of the positive class.")
]
Lake = Annotated[
    str | None,
    typer.Option(
        "--lake", help="Data directory, or address of a collector; that of the settings by default."
    ),
]
TokenFile = Annotated[
    Path | None, typer.Option("--token-file", help="A file with the token for a collector that asks for one.")
]


def token_in(file: Path | None) -> str | None:
    """The token in a file, if there is one.

    Raises:
        typer.BadParameter: It cannot be read.
    """
    from lapwing_collector.errors import reason

    try:
        return None if file is None else file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{file}: cannot be read: {reason(error)}") from error


def evaluate(  # noqa: PLR0917  # each is an option
    rules: Annotated[list[Path], typer.Argument(help="Rule files, those of production too.")],
    model: Annotated[str, typer.Option("--model", "-m", help="The model.")],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            help="The candidate's predictions: a file (Parquet, CSV, JSON lines, Arrow), or rows of the "
            "lake: shadow:7d, candidate:7d, reference:NAME.",
        ),
    ],
    labels: Labels = None,
    reference: Reference = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against",
            help="What stands for production: production:7d, production:2026-01-01..2026-02-01, or a file "
            "of its predictions for the same rows.",
        ),
    ] = None,
    version: Annotated[str | None, typer.Option("--version", help="The candidate's version.")] = None,
    rule: Annotated[
        list[str] | None, typer.Option("--rule", help="Judge by this rule; may be repeated. All by default.")
    ] = None,
    skip: Annotated[
        list[str] | None, typer.Option("--skip", help="Not by this one; may be repeated.")
    ] = None,
    allow_insufficient: Annotated[
        bool, typer.Option("--allow-insufficient", help="Let rules pass that cannot be judged.")
    ] = False,
    time: Time = None,
    key: Key = None,
    label: Label = None,
    prediction: Predicted = None,
    score: Score = None,
    lake: Lake = None,
    token_file: TokenFile = None,
    keep: Annotated[
        bool | None,
        typer.Option("--keep/--no-keep", help="Keep the run in the lake; by default where --lake names one."),
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Write a report that is one page.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write a comment for a pull request.")
    ] = None,
    junit: Annotated[Path | None, typer.Option("--junit", help="Write JUnit XML, for CI systems.")] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all of it as JSON; - for standard output.")
    ] = None,
    config: Config = None,
) -> None:
    """Judge a candidate by rules before its release; exits with 1 where it does not pass.

    Rules fail where they would alert, and where they cannot be judged; those with `criticality: warn` only
    warn. The exit code is 2 where there is no verdict, and the message says why.
    """
    from lapwing_collector.app.gate.candidates import Wanted
    from lapwing_collector.app.gate.gating import evaluate as work
    from lapwing_collector.app.gate.tabled import Columns

    wanted = Wanted(
        model=model,
        data=data,
        rules=rules,
        labels=labels,
        reference=reference,
        against=against,
        columns=Columns(time, key, label, prediction, score),
        version=version,
        only=rule or (),
        skip=skip or (),
        allow_insufficient=allow_insufficient,
        lake=lake,
        token=token_in(token_file),
        keep=keep,
        shown=html is not None or json_file is not None,
    )
    try:
        done = work(config, wanted)
        _write(done, html=html, markdown=markdown, junit=junit, json_file=json_file)
    except LapwingError as error:
        print(f"lapwing: {printable(str(error))}", file=sys.stderr)  # noqa: T201  # as other commands tell it
        raise typer.Exit(NOT_EVALUATED) from error
    if not done.passed:
        raise typer.Exit(1)


def _write(
    done: "Evaluation",
    *,
    html: Path | None,
    markdown: Path | None,
    junit: Path | None,
    json_file: Path | None,
) -> None:
    from lapwing_collector.gate import evaluation_page, junit_of, markdown_of, text_of

    as_json = json.dumps(done.as_json(), ensure_ascii=False, indent=1) + "\n"
    if json_file == _STDOUT:
        write_text(as_json, as_json=True)
    else:
        write_text(text_of(done))
    if html is not None:
        write_file(html, evaluation_page(done).encode())
    if markdown is not None:
        write_file(markdown, markdown_of(done).encode())
    if junit is not None:
        write_file(junit, junit_of(done))
    if json_file is not None and json_file != _STDOUT:
        write_file(json_file, as_json.encode())


def write_file(file: Path, content: bytes) -> None:
    """Write a file that somebody asked for.

    Raises:
        ConfigError: It cannot be written.
    """
    try:
        file.write_bytes(content)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
