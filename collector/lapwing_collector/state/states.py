"""What is remembered of rules: a row of each, and one of each of their alerts."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, or_, update

from lapwing_collector.errors import LapwingError
from lapwing_collector.model.alerts import Instance, RuleId, RuleState
from lapwing_collector.state.dialects import insert
from lapwing_collector.state.prepared import Prepared
from lapwing_collector.state.schema import instances, rules

INSTANCE_FIELDS: Final = tuple(field.name for field in fields(Instance))
STATE_FIELDS: Final = tuple(field.name for field in fields(RuleState) if field.name != "instances")
_READ_FIELDS: Final = ("annotations", "value", "peak", "sample_count", "last_seen_at")
"""What of an alert every evaluation may change, though nothing has happened."""
_OTHER_FIELDS: Final = tuple(name for name in INSTANCE_FIELDS if name not in _READ_FIELDS)

_STATE: Final = attrgetter(*STATE_FIELDS)
_OTHER_STATE: Final = attrgetter(*(name for name in STATE_FIELDS if name != "slot"))
_VALUES: Final = attrgetter(*INSTANCE_FIELDS)
_READ: Final = attrgetter("fingerprint", *_READ_FIELDS)
_OTHERS: Final = attrgetter(*_OTHER_FIELDS)


class SlotCommittedError(LapwingError):
    """A slot of a rule was committed before; what this evaluation found is dropped."""


def _advance() -> Prepared:
    statement = insert(rules)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=["rule_group", "rule_name"],
        set_={field: new[field] for field in STATE_FIELDS},
        where=or_(rules.c.slot.is_(None), new.slot > rules.c.slot),
    )
    return Prepared(statement.returning(rules.c.id), ("rule_group", "rule_name", *STATE_FIELDS))


def _follow(*fields: str) -> Prepared:
    statement = update(rules).where(
        rules.c.rule_group == bindparam("of_group", type_=rules.c.rule_group.type),
        rules.c.rule_name == bindparam("of_name", type_=rules.c.rule_name.type),
        rules.c.slot == bindparam("of_slot", type_=rules.c.slot.type),
    )
    new = {name: bindparam(f"new_{name}", type_=rules.c[name].type) for name in fields}
    parameters = ("of_group", "of_name", "of_slot", *(each.key for each in new.values()))
    return Prepared(statement.values(new).returning(rules.c.id), parameters)


def _of_instance(name: str) -> Any:
    return instances.c[name] == bindparam(f"of_{name}", type_=instances.c[name].type)


def _read() -> Prepared:
    new = {name: bindparam(f"new_{name}", type_=instances.c[name].type) for name in _READ_FIELDS}
    statement = update(instances).where(_of_instance("rule_id"), _of_instance("fingerprint")).values(new)
    return Prepared(statement, ("of_rule_id", "of_fingerprint", *(each.key for each in new.values())))


def _put() -> Prepared:
    statement = insert(instances)
    statement = statement.on_conflict_do_update(
        index_elements=["rule_id", "fingerprint"],
        set_={name: statement.excluded[name] for name in INSTANCE_FIELDS if name != "fingerprint"},
    )
    return Prepared(statement, ("rule_id", *INSTANCE_FIELDS))


# Made once: to make a statement takes longer than to run it.
_ADVANCE: Final = _advance()
_FOLLOW: Final = _follow(*STATE_FIELDS)
_FOLLOW_SLOT: Final = _follow("slot")
_READ_AGAIN: Final = _read()
_PUT: Final = _put()
_DROP: Final = Prepared(
    delete(instances).where(_of_instance("rule_id"), _of_instance("fingerprint")),
    ("of_rule_id", "of_fingerprint"),
)
_DROP_ALL: Final = Prepared(delete(instances).where(_of_instance("rule_id")), ("of_rule_id",))


_BEGIN: Final = Prepared(
    insert(rules).on_conflict_do_nothing(index_elements=["rule_group", "rule_name"]),
    ("rule_group", "rule_name", *STATE_FIELDS),
)


def begin_rules(connection: Connection, states: Mapping[RuleId, RuleState]) -> None:
    """Write the own rows of rules; one that has one already keeps it."""
    _BEGIN.many(connection, [(rule.group, rule.name, *_STATE(state)) for rule, state in states.items()])


def save_state(connection: Connection, rule: RuleId, before: RuleState | None, after: RuleState) -> None:
    """Remember of a rule what its newest slot left.

    Args:
        connection: Inside a transaction.
        rule: Which.
        before: What was remembered, where one knows: then nothing but what differs is written.
        after: What is to be remembered.

    Raises:
        SlotCommittedError: The slot, or a later one, was committed before; or something else than `before` is
            remembered.
    """
    if before is not None and before.slot is not None:
        _follow_up(connection, rule, before, before.slot, after)
        return
    rule_id = _place(connection, rule, after)
    _DROP_ALL.one(connection, (rule_id,))
    _PUT.many(connection, [(rule_id, *_VALUES(each)) for each in after.instances.values()])


def _place(connection: Connection, rule: RuleId, state: RuleState) -> int:
    """Write a rule's own row and return its id.

    Raises:
        SlotCommittedError: Its slot is not later than the newest.
    """
    row = rule.group, rule.name, *_STATE(state)
    rule_id: int | None = _ADVANCE.one(connection, row)
    if rule_id is None:
        raise _committed(rule, state)
    return rule_id


def _follow_up(
    connection: Connection, rule: RuleId, before: RuleState, slot: datetime, after: RuleState
) -> None:
    """Write what differs from before, where that is what there is."""
    if after.slot is None or after.slot <= slot:
        raise _committed(rule, after)
    rule_id: int | None
    if _OTHER_STATE(after) == _OTHER_STATE(before):  # what most evaluations come to
        rule_id = _FOLLOW_SLOT.one(connection, (rule.group, rule.name, slot, after.slot))
    else:
        rule_id = _FOLLOW.one(connection, (rule.group, rule.name, slot, *_STATE(after)))
    if rule_id is None:
        raise _committed(rule, after)
    read, put = [], []
    for key, instance in after.instances.items():
        known = before.instances.get(key)
        if known is None or _OTHERS(known) != _OTHERS(instance):
            put.append((rule_id, *_VALUES(instance)))
        elif _READ(known) != (values := _READ(instance)):
            read.append((rule_id, *values))
    gone = [(rule_id, key) for key in before.instances.keys() - after.instances.keys()]
    if _READ_AGAIN.many(connection, read) != len(read):
        raise _committed(rule, after)
    _PUT.many(connection, put)
    _DROP.many(connection, gone)


def _committed(rule: RuleId, state: RuleState) -> SlotCommittedError:
    return SlotCommittedError(
        f"rule {rule}: slot {state.slot} was committed before; this evaluation is dropped"
    )
