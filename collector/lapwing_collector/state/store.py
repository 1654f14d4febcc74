"""The store of alerting: what one slot of a rule decided is kept in one transaction, or not at all."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Self

from sqlalchemy import Connection, RowMapping, bindparam, delete, extract, func, select, union, update

from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.alerts import (
    Alert,
    AlertState,
    Instance,
    MetricRow,
    RuleId,
    RuleState,
    Status,
    Transition,
)
from lapwing_collector.model.groups import GroupChange, Told
from lapwing_collector.state.database import Database
from lapwing_collector.state.dialects import Place, SqliteFile, insert
from lapwing_collector.state.groups import Groups, change_groups, know_more
from lapwing_collector.state.hushes import Hushes
from lapwing_collector.state.late import LateSlots, forget_late, queue_metrics
from lapwing_collector.state.marks import Marks
from lapwing_collector.state.mentions import Mentions
from lapwing_collector.state.outbox import Outbox, enqueue_told
from lapwing_collector.state.prepared import Prepared
from lapwing_collector.state.pruning import Pruning
from lapwing_collector.state.replicas import Replicas
from lapwing_collector.state.schema import (
    acks,
    advance,
    group_alerts,
    history,
    instances,
    outbox,
    rules,
    silences,
    watermarks,
)
from lapwing_collector.state.states import INSTANCE_FIELDS, STATE_FIELDS, begin_rules, save_state

_TRANSITION_FIELDS: Final = ("status", "reason", "slot", "window_start", "window_end")
_HISTORY: Final = ("rule_group", "rule_name", "recorded_at", "sample")

_VALUES: Final = attrgetter(*INSTANCE_FIELDS)
_TOLD: Final = attrgetter(*_TRANSITION_FIELDS)


_RECORD: Final = Prepared(insert(history), (*_HISTORY, *_TRANSITION_FIELDS, *INSTANCE_FIELDS))
_NEWEST_TOLD: Final = select(func.max(history.c.id))
_SHOW: Final = (
    update(history)
    .where(
        history.c.id > bindparam("after"),
        history.c.fingerprint == bindparam("its_fingerprint"),
        history.c.slot == bindparam("its_slot"),
        history.c.status == bindparam("its_status"),
    )
    .values(sample=bindparam("its_sample"))
)
"""The history has no index of alerts: what was committed a moment ago is at its end."""
_CHANGES: Final = select(
    *(
        each.scalar_subquery()
        for each in (
            select(func.max(history.c.id)),
            select(func.max(outbox.c.id)),
            select(func.count()).select_from(acks),
            select(func.max(acks.c.created_at)),
            select(func.count()).select_from(silences),
            select(func.sum(extract("epoch", silences.c.ends_at))),
        )
    )
)


class Store(Outbox, LateSlots, Groups, Hushes, Pruning, Mentions, Replicas, Marks):
    """Alert state, history, outbox, metric rows, late slots and watermarks of one project.

    Every method is one transaction and may be called from any thread; several processes may hold the same
    database open. NaN is no value: it comes back as None.
    """

    @classmethod
    def open(cls, place: Path | Place) -> Self:
        """Open the state at `place`, made where there is none, migrated where it is older.

        Args:
            place: A SQLite file, or wherever else.

        Raises:
            DataDirectoryError: It cannot be used, or was written by a newer version.
            StateUnavailableError: It is away.
        """
        return cls(Database(SqliteFile(place) if isinstance(place, Path) else place))

    @classmethod
    def own(
        cls,
        place: Place,
        *,
        now: datetime | None = None,
        wait_s: float | None = None,
        quiet: bool = False,
    ) -> Self:
        """The same for the one that leads all who work with it; if it is away, it is opened once it is there.

        Args:
            place: Where it is.
            now: When this is, so that others know since when it leads.
            wait_s: How long to wait for the one before to end; 10 s if None.
            quiet: Say nothing when it goes away and comes back, since another store does.

        Raises:
            DataDirectoryError: It cannot be used or was written by a newer version.
            OwnedElsewhereError: Another one leads.
        """
        return cls(Database(place, owner=True, now=now, wait_s=wait_s, quiet=quiet))

    @classmethod
    def join(cls, place: Place) -> Self:
        """The same for who works with it beside its owner; if it is away, it is opened once it is there.

        Raises:
            DataDirectoryError: It cannot be used, or was written by a newer version.
        """
        return cls(Database(place, patient=True))

    @classmethod
    def find(cls, place: Place) -> Self:
        """The same for a command: what no collector has made is not there.

        Raises:
            DataDirectoryError: No collector has run here, or it cannot be used.
            StateUnavailableError: It is away.
        """
        if not place.exists():
            raise DataDirectoryError(f"{place.name}: no collector has run here yet; `lapwing up` starts one")
        return cls(Database(place, make=False))

    @property
    def problem(self) -> str | None:
        """Why the database cannot be used; None if it can."""
        return self._database.problem

    @property
    def lost(self) -> bool:
        """Whether another one leads, or did since this store became the owner: it writes nothing any more."""
        return self._database.lost

    def wait(self, timeout_s: float) -> bool:
        """Wait until the database can be used; False if it cannot yet."""
        return self._database.wait(timeout_s)

    def close(self) -> None:
        """Close the connections. Calling it twice is fine."""
        self._database.close()

    def load_rules(self) -> dict[RuleId, RuleState]:
        """What is remembered of every rule."""
        with self._database.read() as connection:
            instances_of: dict[int, dict[str, Instance]] = {}
            for row in connection.execute(select(instances)).mappings():
                instances_of.setdefault(row["rule_id"], {})[row["fingerprint"]] = _instance(row)
            return {
                RuleId(row["rule_group"], row["rule_name"]): RuleState(
                    **{field: row[field] for field in STATE_FIELDS},
                    instances=instances_of.get(row["id"], {}),
                )
                for row in connection.execute(select(rules)).mappings()
            }

    def commit(  # noqa: PLR0917  # what one slot decided, in the order it came about
        self,
        rule: RuleId,
        state: RuleState,
        transitions: Sequence[Transition],
        changes: Sequence[GroupChange],
        metrics: Sequence[MetricRow],
        now: datetime,
        *,
        before: RuleState | None = None,
        as_of: datetime | None = None,
    ) -> int:
        """Keep what the evaluation of `state.slot` decided: all of it or nothing.

        A slot commits at most once: `state.slot` must be later than the rule's newest committed slot.

        Args:
            rule: Whose slot it is.
            state: What is to be remembered from now on, in place of what was.
            transitions: For the history.
            changes: For groups of alerts, of which people are told.
            metrics: For the queue to the lake.
            now: Wall-clock time, UTC.
            before: What was remembered so far, where one knows, as it was loaded or committed: then nothing
                but what changed is written.
            as_of: All that was received up to then was looked at; `now` if None.

        Returns:
            What `know_more` is told, to find the transitions.

        Raises:
            SlotCommittedError: The slot, or a later one, was committed before; or what was remembered is
                something else than `before`. Nothing is changed.
        """
        with self._database.write() as connection:
            save_state(connection, rule, before, state)
            newest = _newest_told(connection) if transitions else 0
            _record(connection, transitions, now)
            change_groups(connection, changes, now)
            queue_metrics(connection, metrics, as_of or now)
        return newest

    def know_more(
        self, committed: int, transitions: Sequence[Transition], alerts: Sequence[Alert], now: datetime
    ) -> None:
        """Keep what was looked up beside transitions once these were committed.

        Args:
            committed: What `commit` gave.
            transitions: With the rows behind them, for the history.
            alerts: As their groups are to know them from now on; these are looked at at once.
            now: Wall-clock time, UTC.
        """
        samples = [
            {
                "after": committed,
                "its_fingerprint": each.instance.fingerprint,
                "its_slot": each.slot,
                "its_status": each.status,
                "its_sample": each.sample,
            }
            for each in transitions
            if each.sample
        ]
        with self._database.write() as connection:
            if samples:
                connection.execute(_SHOW, samples)
            know_more(connection, alerts, now)

    def place(self, states: Mapping[RuleId, RuleState]) -> None:
        """Keep where new rules begin; one that has begun already is left as it is."""
        if states:
            with self._database.write() as connection:
                begin_rules(connection, states)

    def forget_rule(
        self, rule: RuleId, transitions: Sequence[Transition], changes: Sequence[GroupChange], now: datetime
    ) -> None:
        """Drop the state of a rule that is no longer in the files, with its last words; its history stays."""
        with self._database.write() as connection:
            connection.execute(delete(rules).where(_is(rule)))
            forget_late(connection, rule)
            _record(connection, transitions, now)
            change_groups(connection, changes, now)

    def forget_alerts(
        self, rule: RuleId, transitions: Sequence[Transition], changes: Sequence[GroupChange], now: datetime
    ) -> None:
        """Drop the alerts of a rule that is switched off, with its last words; how far it has come stays."""
        with self._database.write() as connection:
            its_id = select(rules.c.id).where(_is(rule)).scalar_subquery()
            connection.execute(delete(instances).where(instances.c.rule_id == its_id))
            _record(connection, transitions, now)
            change_groups(connection, changes, now)

    def announce(self, transitions: Sequence[Transition], told: Sequence[Told], now: datetime) -> None:
        """Keep what is told beside what slots decide; messages whose key is known already are dropped."""
        with self._database.write() as connection:
            _record(connection, transitions, now)
            enqueue_told(connection, told, now)

    def save_watermarks(self, marks: Mapping[str, datetime]) -> None:
        """Remember each model's watermark; one that would go back is left as it is."""
        if not marks:
            return
        statement = insert(watermarks)
        statement = statement.on_conflict_do_update(
            index_elements=["model"],
            set_={"at": statement.excluded.at},
            where=statement.excluded.at > watermarks.c.at,
        )
        with self._database.write() as connection:
            connection.execute(statement, [{"model": model, "at": at} for model, at in marks.items()])

    def load_watermarks(self) -> dict[str, datetime]:
        """The watermark of each model."""
        with self._database.read() as connection:
            return {row.model: row.at for row in connection.execute(select(watermarks))}

    def advance_to(self, moment: datetime) -> None:
        """Ask for every slot up to `moment` to be closed, whatever the watermarks say; never goes back."""
        statement = insert(advance).values(id=1, at=moment)
        statement = statement.on_conflict_do_update(
            index_elements=["id"],
            set_={"at": statement.excluded.at},
            where=statement.excluded.at > advance.c.at,
        )
        with self._database.write() as connection:
            connection.execute(statement)

    def advanced_to(self) -> datetime | None:
        """Up to when slots were asked to be closed, None where nobody did."""
        with self._database.read() as connection:
            return connection.execute(select(advance.c.at)).scalar_one_or_none()

    def alerts(
        self,
        states: Collection[AlertState] = (AlertState.PENDING, AlertState.FIRING, AlertState.RECOVERING),
    ) -> list[tuple[RuleId, Instance]]:
        """Alert instances that are in one of `states`, by rule and labels."""
        query = select(rules.c.rule_group, rules.c.rule_name, instances).join_from(rules, instances)
        query = query.where(instances.c.state.in_(states))
        with self._database.read() as connection:
            found = [
                (RuleId(row["rule_group"], row["rule_name"]), _instance(row))
                for row in connection.execute(query).mappings()
            ]
        return sorted(found, key=lambda alert: (str(alert[0]), sorted(alert[1].labels.items())))

    def firing_count(self) -> int:
        """How many alerts fire, those that recover among them."""
        firing = instances.c.state.in_((AlertState.FIRING, AlertState.RECOVERING))
        with self._database.read() as connection:
            count: int = connection.execute(select(func.count()).where(firing)).scalar_one()
            return count

    def alert_changes(self) -> tuple[Any, ...]:
        """Something else once an alert began or ended, people were told, or said something about alerts."""
        with self._database.read() as connection:
            return tuple(connection.execute(_CHANGES).one())

    def resolved_since(self, rule: RuleId, since: datetime) -> dict[str, datetime]:
        """The newest slot at which each alert of a rule resolved, by fingerprint, from `since` on."""
        query = select(history.c.fingerprint, func.max(history.c.slot).label("slot")).where(
            history.c.rule_group == rule.group,
            history.c.rule_name == rule.name,
            history.c.status == Status.RESOLVED,
            history.c.slot >= since,
        )
        with self._database.read() as connection:
            rows = connection.execute(query.group_by(history.c.fingerprint))
            return {row.fingerprint: row.slot for row in rows}

    def strays(self) -> list[Transition]:
        """Alerts that fire and are in no group: how each began."""
        firing = select(instances.c.fingerprint).where(
            instances.c.state.in_((AlertState.FIRING, AlertState.RECOVERING)),
            instances.c.fingerprint.not_in(select(group_alerts.c.fingerprint)),
        )
        newest = select(func.max(history.c.id)).where(
            history.c.status == Status.FIRING, history.c.fingerprint.in_(firing)
        )
        query = select(history).where(history.c.id.in_(newest.group_by(history.c.fingerprint)))
        with self._database.read() as connection:
            return [_transition(row) for row in connection.execute(query).mappings()]

    def instances_named(self, prefix: str, limit: int = 20) -> list[str]:
        """Fingerprints that begin with `prefix`, of alerts there are or were."""
        known = union(*(select(table.c.fingerprint) for table in (instances, history))).subquery()
        query = select(known.c.fingerprint).where(func.substr(known.c.fingerprint, 1, len(prefix)) == prefix)
        with self._database.read() as connection:
            return list(connection.execute(query.order_by(known.c.fingerprint).limit(limit)).scalars())

    def history(self, limit: int = 100, fingerprint: str | None = None) -> list[Transition]:
        """The newest transitions, newest first; those of one alert where its fingerprint is given."""
        query = select(history).order_by(history.c.id.desc()).limit(limit)
        if fingerprint is not None:
            query = query.where(history.c.fingerprint == fingerprint)
        with self._database.read() as connection:
            return [_transition(row) for row in connection.execute(query).mappings()]

    def ended(
        self, since: datetime, until: datetime, limit: int, *, rule: str | None = None
    ) -> list[Transition]:
        """How alerts resolved from the slot `since` on that had begun to fire before `until`, newest first.

        With those that fire still, that is every alert that fired at some time between the two, unless there
        are more than `limit`.

        Args:
            since: From when on.
            until: Up to when.
            limit: How many at most.
            rule: Those of this one only, as `group/name`.
        """
        query = select(history).where(
            history.c.status == Status.RESOLVED, history.c.slot >= since, history.c.fired_at < until
        )
        if rule is not None:
            query = query.where(history.c.rule_group + "/" + history.c.rule_name == rule)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(history.c.id.desc()).limit(limit))
            return [_transition(row) for row in rows.mappings()]


def _is(rule: RuleId) -> Any:
    return (rules.c.rule_group == rule.group) & (rules.c.rule_name == rule.name)


def _newest_told(connection: Connection) -> int:
    newest: int | None = connection.execute(_NEWEST_TOLD).scalar_one()
    return newest or 0


def _record(connection: Connection, transitions: Sequence[Transition], now: datetime) -> None:
    _RECORD.many(
        connection,
        [
            (each.rule.group, each.rule.name, now, each.sample, *_TOLD(each), *_VALUES(each.instance))
            for each in transitions
        ],
    )


def _instance(row: RowMapping) -> Instance:
    return Instance(**{field: row[field] for field in INSTANCE_FIELDS})


def _transition(row: RowMapping) -> Transition:
    return Transition(
        rule=RuleId(row["rule_group"], row["rule_name"]),
        instance=_instance(row),
        sample=tuple(row["sample"]),
        **{field: row[field] for field in _TRANSITION_FIELDS},
    )
