"""Groups of alerts: who is in them, and what each target heard last."""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import Connection, RowMapping, bindparam, delete, func, or_, select, update

from lapwing_collector.model.alerts import Alert, Status
from lapwing_collector.model.groups import Group, GroupChange, Heard, Joining, Looked, Member
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import insert
from lapwing_collector.state.outbox import enqueue_told
from lapwing_collector.state.schema import acks, group_alerts, group_targets, groups

_ALERT: Final = TypeAdapter(Alert)
_NAMED_AT_ONCE: Final = 500

Regroup = Callable[[Sequence[Group]], tuple[Mapping[str, Collection[str]], Sequence[GroupChange]]]


class Groups:
    """Groups of a state database."""

    def __init__(self, database: Database) -> None:
        """Use the tables of `database`."""
        self._database = database

    def groups(self) -> list[Group]:
        """All groups."""
        with self._database.read() as connection:
            return _load(connection, connection.execute(select(groups)).mappings().all())

    def due_groups(self, now: datetime, limit: int) -> list[Group]:
        """Groups to look at now, those first that have been due for longest."""
        query = select(groups).where(groups.c.look_at <= now).order_by(groups.c.look_at).limit(limit)
        with self._database.read() as connection:
            return _load(connection, connection.execute(query).mappings().all())

    def next_look(self) -> datetime | None:
        """When a group is to be looked at next, None where none is."""
        with self._database.read() as connection:
            at: datetime | None = connection.execute(select(func.min(groups.c.look_at))).scalar_one()
        return at

    def firing_labels(self) -> dict[str, Mapping[str, str]]:
        """The labels of every alert in a group that fires, by fingerprint."""
        query = select(group_alerts.c.fingerprint, group_alerts.c.labels)
        query = query.where(group_alerts.c.status == Status.FIRING)
        with self._database.read() as connection:
            return {row.fingerprint: row.labels for row in connection.execute(query)}

    def groups_of(self, fingerprint: str) -> list[Group]:
        """The groups that an alert is in."""
        member = select(group_alerts.c.group_id).where(group_alerts.c.fingerprint == fingerprint)
        with self._database.read() as connection:
            rows = connection.execute(select(groups).where(groups.c.id.in_(member))).mappings().all()
            return _load(connection, rows)

    def save_looks(self, looks: Sequence[Looked], now: datetime) -> list[Looked]:
        """Keep what looks came to, with their messages, all in one transaction.

        Returns:
            Those that were kept: a group that changed since it was looked at is to be looked at again.
        """
        kept = []
        with self._database.write() as connection:
            for look in looks:
                group_id = connection.execute(
                    update(groups)
                    .where(groups.c.key == look.before.key, groups.c.version == look.before.version)
                    .values(version=groups.c.version + 1, look_at=look.look_at)
                    .returning(groups.c.id)
                ).scalar_one_or_none()
                if group_id is None:
                    continue
                if look.after is None:
                    connection.execute(delete(groups).where(groups.c.id == group_id))
                else:
                    _save_members(connection, group_id, look.before.members, look.after.members)
                    _save_heard(connection, group_id, look.before.heard, look.after.heard)
                enqueue_told(connection, look.told, now)
                kept.append(look)
        return kept

    def postpone(self, key: str, until: datetime) -> None:
        """Look at a group later."""
        with self._database.write() as connection:
            connection.execute(update(groups).where(groups.c.key == key).values(look_at=until))

    def look_again(self, now: datetime) -> None:
        """Have every group looked at: what keeps alerts from being told is another."""
        with self._database.write() as connection:
            look_again(connection, now)

    def regroup(self, decide: Regroup, now: datetime) -> None:
        """Follow other routes: alerts come into new groups and leave others, which are looked at.

        Args:
            decide: Told what groups there are, says which alerts leave each, and where alerts come.
            now: Wall-clock time.
        """
        with self._database.write() as connection:
            known = _load(connection, connection.execute(select(groups)).mappings().all())
            leaving, changes = decide(known)
            for group, fingerprints in leaving.items():
                group_id = connection.execute(
                    update(groups)
                    .where(groups.c.key == group)
                    .values(version=groups.c.version + 1, look_at=now)
                    .returning(groups.c.id)
                ).scalar_one()
                for some in _in_parts(sorted(fingerprints)):
                    connection.execute(
                        update(group_alerts)
                        .where(group_alerts.c.group_id == group_id, group_alerts.c.fingerprint.in_(some))
                        .values(leaving=True)
                    )
            change_groups(connection, changes, now)


def change_groups(connection: Connection, changes: Sequence[GroupChange], now: datetime) -> None:
    """Let alerts come into groups, or resolve in those that they are in; these are looked at at once."""
    for part in _each_alert_once(changes):
        _join_groups(connection, part, now)
        over = [each.alert for each in part if each.alert.status is Status.RESOLVED and not each.joins]
        _resolve_in_groups(connection, over, now)


def know_more(connection: Connection, alerts: Sequence[Alert], now: datetime) -> None:
    """Put alerts in the place of what is known of them in their groups, which are looked at at once.

    An alert that has fired or resolved since is left as it is.
    """
    if not alerts:
        return
    connection.execute(
        _KNOW_MORE,
        [
            {f"its_{name}": row[name] for name in ("fingerprint", "status", "alert")}
            for row in (_alert_columns(alert, now) for alert in alerts)
        ],
    )
    for some in _in_parts(alert.fingerprint for alert in alerts):
        _touch_groups_of(connection, some, now)


def _each_alert_once(changes: Sequence[GroupChange]) -> Iterator[list[GroupChange]]:
    """Parts in which no alert changes twice: one that ends and begins anew in a slot does so in order."""
    part: dict[str, GroupChange] = {}
    for change in changes:
        if change.alert.fingerprint in part:
            yield list(part.values())
            part = {}
        part[change.alert.fingerprint] = change
    yield list(part.values())


def _join_groups(connection: Connection, changes: Sequence[GroupChange], now: datetime) -> None:
    joined: dict[str, int] = {}
    rows = []
    for change in changes:
        for joining in change.joins:
            if joining.group not in joined:
                joined[joining.group] = _touched(connection, joining, now)
            rows.append(
                {"group_id": joined[joining.group], "hushed": "", "leaving": False}
                | _alert_columns(change.alert, joining.changed_at or now)
                | {"skip": sorted(joining.skip), "told_at": joining.told_at}
            )
    if rows:
        connection.execute(_JOIN, rows)


def _resolve_in_groups(connection: Connection, resolved: Sequence[Alert], now: datetime) -> None:
    if not resolved:
        return
    connection.execute(
        _RESOLVE,
        [{f"its_{name}": value for name, value in _alert_columns(alert, now).items()} for alert in resolved],
    )
    for some in _in_parts(alert.fingerprint for alert in resolved):
        _touch_groups_of(connection, some, now)
        connection.execute(delete(acks).where(acks.c.fingerprint.in_(some)))


def look_again(connection: Connection, now: datetime) -> None:
    """Have every group looked at: what keeps alerts from being told is another.

    A look that is under way does not count: it knew what was before.
    """
    connection.execute(update(groups).values(version=groups.c.version + 1, look_at=now))


def _join() -> Any:
    statement = insert(group_alerts)
    new = statement.excluded
    kept = ("status", "labels", "alert", "skip", "leaving")
    return statement.on_conflict_do_update(
        index_elements=["group_id", "fingerprint"],
        set_={name: new[name] for name in kept}
        | {"changed_at": new.changed_at, "hushed": ""}
        | {"told_at": func.coalesce(group_alerts.c.told_at, new.told_at)},
        where=or_(group_alerts.c.status == Status.RESOLVED, group_alerts.c.leaving),
    )


_JOIN: Final = _join()
_RESOLVE: Final = (
    update(group_alerts)
    .where(group_alerts.c.fingerprint == bindparam("its_fingerprint"), group_alerts.c.status == Status.FIRING)
    .values(
        status=bindparam("its_status"), alert=bindparam("its_alert"), changed_at=bindparam("its_changed_at")
    )
)

_KNOW_MORE: Final = (
    update(group_alerts)
    .where(
        group_alerts.c.fingerprint == bindparam("its_fingerprint"),
        group_alerts.c.status == bindparam("its_status"),
    )
    .values(alert=bindparam("its_alert"))
)


def _alert_columns(alert: Alert, now: datetime) -> dict[str, Any]:
    return {
        "fingerprint": alert.fingerprint,
        "status": alert.status,
        "labels": dict(alert.labels),
        "alert": json.dumps(_ALERT.dump_python(alert, mode="json")),  # JSON of pydantic's has no infinity
        "changed_at": now,
    }


def _touched(connection: Connection, joining: Joining, now: datetime) -> int:
    """The id of the group that is joined, made where it was not there, to be looked at now."""
    statement = insert(groups).values(
        key=joining.group,
        receiver=joining.receiver,
        route=joining.route,
        labels=dict(joining.labels),
        version=1,
        look_at=now,
    )
    statement = statement.on_conflict_do_update(
        index_elements=["key"],
        set_={"version": groups.c.version + 1, "look_at": now, "route": joining.route},
    )
    group_id: int = connection.execute(statement.returning(groups.c.id)).scalar_one()
    return group_id


def _touch_groups_of(connection: Connection, fingerprints: Collection[str], now: datetime) -> None:
    theirs = select(group_alerts.c.group_id).where(group_alerts.c.fingerprint.in_(fingerprints))
    connection.execute(
        update(groups).where(groups.c.id.in_(theirs)).values(version=groups.c.version + 1, look_at=now)
    )


def _save_members(
    connection: Connection, group_id: int, before: Mapping[str, Member], after: Mapping[str, Member]
) -> None:
    changed = [
        {
            "its_fingerprint": key,
            "its_changed_at": member.changed_at,
            "its_told_at": member.told_at,
            "its_hushed": member.hushed,
            "its_skip": sorted(member.skip),
        }
        for key, member in after.items()
        if member is not before[key]
    ]
    if changed:
        connection.execute(
            update(group_alerts)
            .where(
                group_alerts.c.group_id == group_id,
                group_alerts.c.fingerprint == bindparam("its_fingerprint"),
            )
            .values({name: bindparam(f"its_{name}") for name in ("changed_at", "told_at", "hushed", "skip")}),
            changed,
        )
    for some in _in_parts(before.keys() - after.keys()):
        connection.execute(
            delete(group_alerts).where(
                group_alerts.c.group_id == group_id, group_alerts.c.fingerprint.in_(some)
            )
        )


def _save_heard(
    connection: Connection, group_id: int, before: Mapping[str, Heard], after: Mapping[str, Heard]
) -> None:
    for target, heard in after.items():
        if heard is before.get(target):
            continue
        values = {"firing": sorted(heard.firing), "told_at": heard.told_at, "message": heard.message}
        statement = insert(group_targets).values(group_id=group_id, target=target, **values)
        connection.execute(
            statement.on_conflict_do_update(index_elements=["group_id", "target"], set_=values)
        )
    gone = before.keys() - after.keys()
    if gone:
        connection.execute(
            delete(group_targets).where(
                group_targets.c.group_id == group_id, group_targets.c.target.in_(gone)
            )
        )


def _in_parts(items: Iterable[Any]) -> Iterator[list[Any]]:
    """As many as one statement may name."""
    rest = iter(items)
    while part := list(islice(rest, _NAMED_AT_ONCE)):
        yield part


def _load(connection: Connection, rows: Sequence[RowMapping]) -> list[Group]:
    members: dict[int, dict[str, Member]] = {row["id"]: {} for row in rows}
    heard: dict[int, dict[str, Heard]] = {row["id"]: {} for row in rows}
    for some in _in_parts(members):
        for alert in connection.execute(select(group_alerts).where(group_alerts.c.group_id.in_(some))):
            members[alert.group_id][alert.fingerprint] = Member(
                _ALERT.validate_json(alert.alert),
                alert.changed_at,
                alert.told_at,
                alert.hushed,
                frozenset(alert.skip),
                alert.leaving,
            )
        for target in connection.execute(select(group_targets).where(group_targets.c.group_id.in_(some))):
            heard[target.group_id][target.target] = Heard(
                frozenset(target.firing), target.told_at, target.message
            )
    return [
        Group(
            row["key"],
            row["receiver"],
            row["route"],
            row["labels"],
            row["version"],
            members[row["id"]],
            heard[row["id"]],
            row["look_at"],
        )
        for row in rows
    ]
