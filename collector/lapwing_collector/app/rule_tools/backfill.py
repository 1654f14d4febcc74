"""`lapwing rules run`: the past of rules, as if they had been there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lapwing_collector.app.answers.asking import Asking
from lapwing_collector.app.answers.models import models_in
from lapwing_collector.app.importing.delivery import owned
from lapwing_collector.app.judging.dispatching import told_of
from lapwing_collector.app.judging.judging import Judging
from lapwing_collector.app.judging.walking import look, walk
from lapwing_collector.app.places.directory import DataDirectory
from lapwing_collector.app.places.lake_place import expect_lake
from lapwing_collector.app.places.owner_socket import Tell, ask_owner
from lapwing_collector.app.places.project import Project, load_project, with_models
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.app.rule_tools.spans import Span, chosen, moment, not_seen, slots_of
from lapwing_collector.clock import SystemClock, utc_datetime
from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.alerts import RuleId, Transition
from lapwing_collector.notify import alert_of, digests
from lapwing_collector.rules import Rule
from lapwing_collector.state import Store


@dataclass(frozen=True, slots=True)
class Past:
    """What became of the past of one rule.

    Attributes:
        rule: Which.
        windows: How many were evaluated.
        failed: How many of them failed.
        error: Why one of those did.
        transitions: What people would have been told, in order; none for a rule that records.
        not_seen: What of the model or field that it names has not come yet; None if all has.
    """

    rule: RuleId
    windows: int
    failed: int
    error: str | None
    transitions: Sequence[Transition] = ()
    not_seen: str | None = None


def run_rules(  # noqa: PLR0917  # each is an option of the command
    file: Path | None,
    flags: Mapping[str, Any],
    tell: Tell,
    names: Sequence[str],
    since: str,
    until: str,
    *,
    notify: bool = False,
) -> list[Past]:
    """Evaluate the windows of rules that end after `since`, up to `until`.

    What rules record is stored; of windows that are stored already, what differs. What alerts would have told
    is told if `notify`.

    Args:
        file: The settings file, if any.
        flags: Settings given on the command line.
        tell: Told how far it is.
        names: Rules, as `group/rule`; all that are enabled if there is none.
        since: ISO time, UTC unless it says otherwise.
        until: Likewise.
        notify: Whether people are told of alerts.

    Raises:
        LapwingError: It cannot be done now.
    """
    project = load_project(file, flags)
    span = moment("--from", since), moment("--to", until)
    expect_lake(project.settings)
    with Asking.over(file, flags) as asking:
        if project.model_groups:
            project = with_models(project, models_in(asking.run))
        rules = chosen(project, names)
        done = _run_records(project, asking, [rule for rule in rules if rule.kind == "record"], span, tell)
        for rule in rules:
            if rule.kind == "alert":
                done[rule.id] = _run_alert(asking, rule, span, tell)
            done[rule.id] = replace(done[rule.id], not_seen=not_seen(asking.run, rule, span))
    if notify:
        _announce(project, [(rule, done[rule.id].transitions) for rule in rules])
    return [done[rule.id] for rule in rules]


def _run_records(
    project: Project, asking: Asking, rules: Sequence[Rule], span: Span, tell: Tell
) -> dict[RuleId, Past]:
    """By the collector that owns the data directory, if one runs, else by owning it."""
    if not rules:
        return {}
    data = DataDirectory(project.settings.data).root
    if ask_owner(data, "status", {}, lambda *_: None) is not None:
        return {rule.id: _past(rule, _ask(data, rule, span, tell)) for rule in rules}
    with owned(project, leads=True) as here:
        judging = Judging(
            project,
            store=here.store,
            live_queries=asking.run,
            late_queries=asking.run,
            oldest_waiting=lambda: None,
            wake=lambda _: None,
            busy=lambda: False,
            clock=SystemClock(),
        )
        judging.load()
        judging.alerting.place_new_rules()
        judging.recomputing.prepare()

        def work() -> bool:
            judging.recomputing.work()
            return False

        return {
            rule.id: _past(rule, judging.backfill(rule.id, *slots_of(rule, span), tell, work))
            for rule in rules
        }


def _ask(data: Path, rule: Rule, span: Span, tell: Tell) -> Mapping[str, Any]:
    after, through = slots_of(rule, span)
    asked = {
        "group": rule.id.group,
        "rule": rule.id.name,
        "after": after.isoformat(),
        "through": through.isoformat(),
    }
    answer = ask_owner(data, "run_rule", asked, tell)
    if answer is None:
        raise DataDirectoryError(f"{data}: the collector went away; ask again")
    return answer


def _past(rule: Rule, answer: Mapping[str, Any]) -> Past:
    return Past(rule.id, answer["windows"], answer["failed"], answer["error"])


def _run_alert(asking: Asking, rule: Rule, span: Span, tell: Tell) -> Past:
    """Walk an alert through the past from nothing, as it is known now; nothing of it is remembered."""
    slots = list(rule.slots.between(*slots_of(rule, span)))
    transitions: list[Transition] = []
    failed, error = 0, None
    looks = (look(asking.run, rule, slot) for slot in slots)
    for number, (_, evaluation) in enumerate(walk(rule, looks), start=1):
        transitions += evaluation.transitions
        if evaluation.state.error is not None:
            failed, error = failed + 1, evaluation.state.error
        tell(str(rule.id), number, len(slots))
    return Past(rule.id, len(slots), failed, error, transitions)


def _announce(project: Project, told: Sequence[tuple[Rule, Sequence[Transition]]]) -> None:
    """Put messages into the outbox, from which the collector sends them while it runs."""
    transitions = [transition for _, found in told for transition in found]
    alerts = [alert_of(transition, rule.condition) for rule, found in told for transition in found]
    store = Store.open(state_of(project.settings))
    try:
        messages = told_of(digests(project.notify, alerts), project.targets)
        store.announce(transitions, messages, utc_datetime(SystemClock().now_ns()))
    finally:
        store.close()
