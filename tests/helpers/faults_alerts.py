"""What the fault campaign knows of alerts: a rule whose every slot follows from its time, and what to expect.

The rule asks for nothing but its slot, so what it gives is known whenever the collector died and however long
it was away: `expected` counts it out, slot by slot, without the engine.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta

INTERVAL = timedelta(milliseconds=200)
EPOCH = datetime(1970, 1, 1)
STEPS = {"a": 3, "b": 5, "c": 7, "d": 11}
PERIOD = 13
BAD, GOOD = 7, 5
FOR_SLOTS = 1
KEEP_SLOTS = 1
_MS = INTERVAL // timedelta(milliseconds=1)

RULES = f"""
groups:
  - name: kills
    interval: {_MS}ms
    timeout: 30s
    query_offset: 5m
    rules:
      - alert: Turns
        expr: |
          SELECT name, (epoch_ms($slot) // {_MS} * step % {PERIOD})::DOUBLE AS value
          FROM (VALUES {", ".join(f"('{name}', {step})" for name, step in STEPS.items())}) t(name, step)
        condition: value > {{bad}}
        resolve_condition: value < {GOOD}
        for: {FOR_SLOTS * _MS}ms
        keep_firing_for: {KEEP_SLOTS * _MS}ms
"""
TURNING = RULES.format(bad=BAD)
CALM = RULES.format(bad=PERIOD)
"""Another condition, which holds for nothing: what fires resolves because the rule changed."""


@dataclass(frozen=True, order=True)
class Event:
    """An alert that begins to fire, or resolves."""

    slot: datetime
    name: str
    status: str


def expected(after: datetime, through: datetime) -> tuple[list[Event], set[str]]:
    """What has to happen in the slots after one, up to another; and what fires then."""
    events: list[Event] = []
    states = dict.fromkeys(STEPS, ("calm", 0))
    slot = after
    while (slot := slot + INTERVAL) <= through:
        for name, step in STEPS.items():
            value = (slot - EPOCH) // INTERVAL * step % PERIOD
            before, states[name] = states[name], _next(*states[name], value)
            told = [state in {"fires", "calms down"} for state, _ in (before, states[name])]
            if told[0] != told[1]:
                events.append(Event(slot, name, "firing" if told[1] else "resolved"))
    return events, {name for name, (state, _) in states.items() if state in {"fires", "calms down"}}


def _next(state: str, count: int, value: int) -> tuple[str, int]:
    """The state after a value, and for how many slots it has been on the way to the next one."""
    if value > BAD:
        if state in {"fires", "calms down"}:
            return "fires", 0
        count = count + 1 if state == "worries" else 0
        return ("fires", 0) if count >= FOR_SLOTS else ("worries", count)
    if value < GOOD:
        if state in {"calm", "worries"}:
            return "calm", 0
        count = count + 1 if state == "calms down" else 0
        return ("calm", 0) if count >= KEEP_SLOTS else ("calms down", count)
    return state, count


def alerts_of(payload: str) -> list[tuple[str, str, str]]:
    """Fingerprint, status and slot of the alerts that are news in a message."""
    return [
        (alert["fingerprint"], alert["status"], alert["slot"])
        for alert in json.loads(payload)["alerts"]
        if alert["new"]
    ]
