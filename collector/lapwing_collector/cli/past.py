"""What `lapwing rules run` and `lapwing rules reload` say."""

import json
from typing import TYPE_CHECKING, Any

from lapwing_collector.cli.output import write_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lapwing_collector.app.rule_tools.backfill import Past
    from lapwing_collector.model.alerts import Transition


def show(pasts: "Sequence[Past]", *, as_json: bool) -> None:
    """Print what became of the past of rules."""
    if as_json:
        write_text(json.dumps([_as_json(past) for past in pasts]) + "\n", as_json=True)
        return
    for past in pasts:
        text = f"{past.rule}: {past.windows:,} windows"
        if past.failed:
            text += f", {past.failed:,} failed: {past.error}"
        write_text(text + "\n")
        if past.not_seen is not None:
            write_text(f"  no data: {past.not_seen}\n")
        for transition in past.transitions:
            labels = ", ".join(f"{name}={text}" for name, text in sorted(transition.instance.labels.items()))
            value = "" if transition.instance.value is None else f"  {transition.instance.value:g}"
            write_text(f"  {transition.slot:%Y-%m-%d %H:%M}  {transition.status:8}  {labels}{value}\n")


def show_reloaded(told: "Mapping[str, Any]", *, as_json: bool) -> None:
    """Print what became of rules and targets when their files were read again."""
    if as_json:
        write_text(json.dumps(told) + "\n", as_json=True)
        return
    own = f", {told['builtin']:,} of them come with Lapwing" if told.get("builtin") else ""
    write_text(f"{told['rules']:,} rules{own}\n")
    for what in ("added", "changed", "removed"):
        for rule in told[what]:
            write_text(f"  {what:8} {rule}\n")
        for target in told["targets"][what]:
            write_text(f"  {what:8} target {target}\n")


def _as_json(past: "Past") -> dict[str, Any]:
    return {
        "rule": str(past.rule),
        "windows": past.windows,
        "failed": past.failed,
        "error": past.error,
        "not_seen": past.not_seen,
        "transitions": [_transition(transition) for transition in past.transitions],
    }


def _transition(transition: "Transition") -> dict[str, Any]:
    return {
        "slot": transition.slot.isoformat(),
        "status": str(transition.status),
        "reason": transition.reason,
        "labels": dict(transition.instance.labels),
        "value": transition.instance.value,
    }
