"""`lapwing rules check`, `test` and `backtest`: what a rule file would do, before it does it.

Exit codes: 0 fine, 1 something is wrong (the output says what), 2 wrong usage, 3 `check --lint-fatal` has
nothing but hints.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lapwing_collector.cli.keeping import AsJson, Config, Data, progress
from lapwing_collector.cli.output import write_text

LINT: int = 3
"""Exit code where there are hints and they are to count."""


def add_rule_tools(rules_app: typer.Typer) -> None:
    """Give `lapwing rules` these commands."""
    rules_app.command("check")(check)
    rules_app.command("test")(run_cases)
    rules_app.command("backtest")(backtest)


def check(  # noqa: PLR0917  # each is an option
    files: Annotated[
        list[Path] | None, typer.Argument(help="Rule files; those of the settings by default.")
    ] = None,
    lint: Annotated[
        bool, typer.Option("--lint/--no-lint", help="Tell what is allowed but most likely not meant.")
    ] = True,
    lint_fatal: Annotated[bool, typer.Option("--lint-fatal", help="Exit with 3 where there is any.")] = False,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Check rule files: all mistakes of all files at once, each with file, line, and what may be meant.

    Where there is a lake, its models, fields and metrics are looked up.
    """
    from lapwing_collector.app.rule_tools.checking import check_rules

    checked = check_rules(config, {"data": data}, files or [], lint=lint)
    if as_json:
        write_text(json.dumps(asdict(checked), ensure_ascii=False) + "\n", as_json=True)
    else:
        for each in checked.findings:
            where = each.file if each.line is None else f"{each.file}:{each.line}"
            write_text(f"{where}: {'hint: ' if each.kind == 'hint' else ''}{each.text}\n")
    kinds = [each.kind for each in checked.findings]
    mistakes, odd = kinds.count("mistake"), kinds.count("hint")
    if not as_json:
        counted = f"{_number(checked.rules, 'rule')} in {_number(checked.files, 'file')}"
        told = [_number(count, what) for count, what in ((mistakes, "mistake"), (odd, "hint")) if count]
        fine = "is fine" if checked.rules == 1 else "are fine"
        unseen = "" if checked.lake else "; models and fields were not looked up: there is no lake yet"
        write_text(f"{counted}: {', '.join(told)}{unseen}\n" if told else f"{counted} {fine}{unseen}\n")
    if mistakes:
        raise typer.Exit(1)
    if odd and lint_fatal:
        raise typer.Exit(LINT)


def run_cases(
    files: Annotated[list[Path], typer.Argument(help="Test files, which name the rule files they test.")],
    run: Annotated[
        str | None, typer.Option("--run", help="Only tests whose name has a match for this expression.")
    ] = None,
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Write the outcome as JUnit XML, for CI systems.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Test rules: the real engine and real SQL over the tables and series that a test file brings."""
    from lapwing_collector.app.rule_tools.rule_tests import run_tests

    tested = []
    for each in run_tests(files, run):
        tested.append(each)
        if not as_json:
            outcome = "FAILED" if each.failures else "ok"
            write_text(f"{each.file}: {each.name}: {outcome} ({each.seconds:.2f} s)\n")
            for failure in each.failures:
                write_text("".join(f"  {line}\n" for line in failure.splitlines()))
    failed = sum(bool(each.failures) for each in tested)
    if junit is not None:
        from lapwing_collector.cli.junit import write_junit

        write_junit(junit, tested)
    if as_json:
        write_text(json.dumps([asdict(each) for each in tested], ensure_ascii=False) + "\n", as_json=True)
    elif tested:
        write_text(
            f"{_number(len(tested), 'test')}: {failed:,} failed\n"
            if failed
            else f"{_number(len(tested), 'test')} passed\n"
        )
    if not tested:
        from lapwing_collector.errors import ConfigError

        raise ConfigError(f"no test has a match for {run!r} in its name" if run else "there is no test")
    if failed:
        raise typer.Exit(1)


def backtest(  # noqa: PLR0917  # each is an option
    since: Annotated[
        str,
        typer.Option(
            "--from", help="Windows that end after this time, 2026-01-31T12:00 in UTC, or 30d before --to."
        ),
    ],
    until: Annotated[str | None, typer.Option("--to", help="And up to this one; now by default.")] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", help="A rule, as group/rule or its name; may be repeated. All alerts by default."
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option("--threshold", help="Another number in a condition of `value` alone.")
    ] = None,
    condition: Annotated[str | None, typer.Option("--condition", help="Another condition.")] = None,
    for_: Annotated[str | None, typer.Option("--for", help="Another `for`: 15m.")] = None,
    slots: Annotated[
        bool, typer.Option("--slots", help="Tell value and state at every slot, too; only with --json.")
    ] = False,
    max_slots: Annotated[
        int, typer.Option("--max-slots", min=1, help="Refuse rules that have more slots.")
    ] = 1_000_000,
    config: Config = None,
    data: Data = None,
    as_json: AsJson = False,
) -> None:
    """Walk alerts through the past: when they would have fired, for how long, and what to try instead.

    All of it is about one snapshot of the lake; nothing is kept, and nobody is told.
    """
    from lapwing_collector.app.rule_tools.backtest import Otherwise
    from lapwing_collector.app.rule_tools.backtest import backtest as work
    from lapwing_collector.cli.backtesting import show_backtest

    otherwise = Otherwise(condition, threshold, for_, slots, max_slots)
    with progress() as tell:
        done = work(config, {"data": data}, tell, rule or [], since, until, otherwise=otherwise)
    show_backtest(done, as_json=as_json)


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
