"""Tables of the state database and the steps that bring an older one up to date.

Times are naive UTC. Instances and transitions name their columns as the dataclasses of `model.alerts` name
their fields, so that rows and values turn into each other without a table of names.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Enum,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    UniqueConstraint,
    insert,
    inspect,
    select,
    text,
    update,
)

from lapwing_collector.errors import DataDirectoryError
from lapwing_collector.model.alerts import AlertState, Health, Spoken, Status
from lapwing_collector.state.dialects import JSON, DateTime, Double, Number, Text


class Delivery(StrEnum):
    """How far a message of the outbox has come."""

    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DEAD = "dead"
    SUPPRESSED = "suppressed"


def _words(of: type[StrEnum]) -> Enum:
    return Enum(of, native_enum=False, length=16, values_callable=lambda members: [m.value for m in members])


def _instance_columns() -> tuple[Column[Any], ...]:
    return (
        Column("labels", JSON, nullable=False),
        Column("annotations", JSON, nullable=False),
        Column("state", _words(AlertState), nullable=False),
        Column("health", _words(Health), nullable=False),
        Column("value", Double),
        Column("peak", Double),
        Column("sample_count", BigInteger),
        Column("active_at", DateTime),
        Column("fired_at", DateTime),
        Column("recovering_at", DateTime),
        Column("resolved_at", DateTime),
        Column("last_seen_at", DateTime),
        Column("missing_slots", Integer, nullable=False),
        Column("first_seen_at", DateTime),
    )


metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

rules = Table(
    "rules",
    metadata,
    Column("id", Number, primary_key=True),
    Column("rule_group", Text, nullable=False),
    Column("rule_name", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("slot", DateTime),
    Column("since", DateTime),
    Column("health", _words(Health), nullable=False),
    Column("no_data_since", DateTime),
    Column("error_since", DateTime),
    Column("error", Text),
    UniqueConstraint("rule_group", "rule_name"),
)

instances = Table(
    "instances",
    metadata,
    Column("rule_id", ForeignKey("rules.id", ondelete="CASCADE"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    *_instance_columns(),
    sqlite_with_rowid=False,
)

# Transitions. They name their rule themselves: they outlive it.
history = Table(
    "history",
    metadata,
    Column("id", Number, primary_key=True),
    Column("rule_group", Text, nullable=False),
    Column("rule_name", Text, nullable=False),
    Column("status", _words(Status), nullable=False),
    Column("reason", Text, nullable=False),
    Column("slot", DateTime, nullable=False),
    Column("window_start", DateTime, nullable=False),
    Column("window_end", DateTime, nullable=False),
    Column("recorded_at", DateTime, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("sample", JSON, nullable=False),
    *_instance_columns(),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", Number, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("target", Text, nullable=False),
    Column("status", _words(Status), nullable=False),
    Column("group", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("body", Text, nullable=False),
    Column("body_format", Text, nullable=False),
    Column("payload", Text, nullable=False),
    Column("origin", Text, nullable=False),
    Column("delivery", _words(Delivery), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_at", DateTime, nullable=False),
    Column("created_at", DateTime, nullable=False),
    Column("queued_at", DateTime, nullable=False),
    Column("sent_at", DateTime),
    Column("last_error", Text),
)
Index("outbox_by_delivery", outbox.c.target, outbox.c.delivery, outbox.c.next_at)
Index("outbox_by_group", outbox.c.target, outbox.c.group)

# The alerts that a message speaks of, and how.
message_alerts = Table(
    "message_alerts",
    metadata,
    Column("message_id", ForeignKey("outbox.id", ondelete="CASCADE"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("spoken", _words(Spoken), nullable=False),
    sqlite_with_rowid=False,
)
Index("message_alerts_by_alert", message_alerts.c.fingerprint)

# Alerts that are told together. `look_at` is when there may be something to tell.
groups = Table(
    "notification_groups",
    metadata,
    Column("id", Number, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("receiver", Text, nullable=False),
    Column("route", Text, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("version", Integer, nullable=False),
    Column("look_at", DateTime),
)
Index("notification_groups_by_time", groups.c.look_at)

# `labels` are those of the alert, whose document is read only where its group is looked at.
group_alerts = Table(
    "group_alerts",
    metadata,
    Column("group_id", ForeignKey("notification_groups.id", ondelete="CASCADE"), primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("status", _words(Status), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("alert", Text, nullable=False),
    Column("changed_at", DateTime, nullable=False),
    Column("told_at", DateTime),
    Column("hushed", Text, nullable=False),
    Column("skip", JSON, nullable=False),
    Column("leaving", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
Index("group_alerts_by_alert", group_alerts.c.fingerprint)

# What each target heard last about a group; `firing` are fingerprints.
group_targets = Table(
    "group_targets",
    metadata,
    Column("group_id", ForeignKey("notification_groups.id", ondelete="CASCADE"), primary_key=True),
    Column("target", Text, primary_key=True),
    Column("firing", JSON, nullable=False),
    Column("told_at", DateTime, nullable=False),
    Column("message", Text, nullable=False),
    sqlite_with_rowid=False,
)

# One without `ends_at` holds for as long as an alert fires that it matches.
silences = Table(
    "silences",
    metadata,
    Column("key", Text, primary_key=True),
    Column("matchers", Text, nullable=False),
    Column("starts_at", DateTime, nullable=False),
    Column("ends_at", DateTime),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    sqlite_with_rowid=False,
)

acks = Table(
    "acks",
    metadata,
    Column("fingerprint", Text, primary_key=True),
    Column("author", Text, nullable=False),
    Column("comment", Text, nullable=False),
    Column("created_at", DateTime, nullable=False),
    sqlite_with_rowid=False,
)

# AUTOINCREMENT: the lake remembers the highest id it has taken over, so an id must never be given twice.
metric_queue = Table(
    "metric_queue",
    metadata,
    Column("id", Number, primary_key=True),
    Column("metric", Text, nullable=False),
    Column("model", Text),
    Column("series", JSON, nullable=False),
    Column("window_start", DateTime, nullable=False),
    Column("window_end", DateTime, nullable=False),
    Column("value", Double),
    Column("sample_count", BigInteger),
    Column("label_coverage", Double),
    Column("as_of", DateTime, nullable=False),
    sqlite_autoincrement=True,
)

watermarks = Table(
    "watermarks",
    metadata,
    Column("model", Text, primary_key=True),
    Column("at", DateTime, nullable=False),
)

# At most one row: up to when a person asked the slots to be closed.
advance = Table(
    "advance",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("at", DateTime, nullable=False),
)

# At most one row: which process leads, or did last; all that it writes is written under its term.
leadership = Table(
    "leadership",
    metadata,
    Column("term", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False),
    Column("since", DateTime),
)

# Processes that share the state; `beats` grows while they live.
replicas = Table(
    "replicas",
    metadata,
    Column("name", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("since", DateTime, nullable=False),
    Column("beats", BigInteger, nullable=False),
    Column("seen_at", DateTime, nullable=False),
    sqlite_with_rowid=False,
)

# How far each collector is that writes the lake; `beats` grows while it lives.
marks = Table(
    "marks",
    metadata,
    Column("collector", Text, primary_key=True),
    Column("address", Text, nullable=False),
    Column("settled_at", DateTime, nullable=False),
    Column("beats", BigInteger, nullable=False),
    Column("seen_at", DateTime, nullable=False),
    sqlite_with_rowid=False,
)

# The models' tables that got rows, with the newest event time; `number` grows in the order of commits.
arrivals = Table(
    "arrivals",
    metadata,
    Column("table", Text, primary_key=True),
    Column("newest", DateTime),
    Column("number", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
Index("arrivals_by_number", arrivals.c.number)

# Up to when what was received is known to have touched no slot of a rule, or slots that are in `late_slots`.
# The slots after `since` were evaluated, too, where a person asked for it.
# They name their rule themselves: its first slot may not be committed yet.
late_cursors = Table(
    "late_cursors",
    metadata,
    Column("rule_group", Text, primary_key=True),
    Column("rule_name", Text, primary_key=True),
    Column("received_to", DateTime),
    Column("since", DateTime),
    sqlite_with_rowid=False,
)

# Slots to evaluate again. One without `touched_at` was, and rests until `next_at`.
late_slots = Table(
    "late_slots",
    metadata,
    Column("rule_group", Text, primary_key=True),
    Column("rule_name", Text, primary_key=True),
    Column("slot", DateTime, primary_key=True),
    Column("touched_at", DateTime),
    Column("queued_at", DateTime, nullable=False),
    Column("next_at", DateTime, nullable=False),
    Column("changes", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error", Text),
    sqlite_with_rowid=False,
)
Index("late_slots_by_age", late_slots.c.queued_at, late_slots.c.slot.desc())

NUMBERED: Final = (rules, history, outbox, groups, metric_queue)
"""Tables whose rows are numbered as they come."""

Step = Callable[[Connection], None]


def _add_late_slots(connection: Connection) -> None:
    """What was evaluated before this version stays as it is: nobody knows which slots these were."""
    connection.execute(text("ALTER TABLE rules ADD COLUMN since DATETIME"))
    connection.execute(text("UPDATE rules SET since = slot"))
    for table in (late_cursors, late_slots):
        table.create(connection)


def _speak_of_groups(connection: Connection) -> None:
    """Messages that wait stay as they are: each is about a group of the one alert that it spoke of."""
    connection.execute(text("DROP INDEX outbox_by_alert"))
    connection.execute(text('ALTER TABLE outbox RENAME COLUMN fingerprint TO "group"'))
    connection.execute(text("ALTER TABLE outbox ADD COLUMN body_format TEXT NOT NULL DEFAULT 'text'"))
    connection.execute(text("ALTER TABLE outbox ADD COLUMN payload TEXT NOT NULL DEFAULT ''"))
    connection.execute(text('CREATE INDEX outbox_by_group ON outbox (target, "group")'))


def _add_samples(connection: Connection) -> None:
    """What is known already counts as seen long ago."""
    for table in (instances, history):
        connection.execute(text(f"ALTER TABLE {table.name} ADD COLUMN first_seen_at DATETIME"))
    connection.execute(text("ALTER TABLE history ADD COLUMN sample JSON NOT NULL DEFAULT '[]'"))


def _let_messages_be_queued_again(connection: Connection) -> None:
    """Messages of before were queued once, when they were made, and none of them tells of another."""
    connection.execute(text("ALTER TABLE outbox ADD COLUMN origin TEXT NOT NULL DEFAULT ''"))
    connection.execute(text("ALTER TABLE outbox ADD COLUMN queued_at DATETIME NOT NULL DEFAULT '1970-01-01'"))
    connection.execute(text("UPDATE outbox SET queued_at = created_at"))


def _add_groups(connection: Connection) -> None:
    """Alerts that fire come into their groups at the next start."""
    for table in (message_alerts, groups, group_alerts, group_targets, silences, acks):
        table.create(connection)


def _tell_apart_how_messages_speak(connection: Connection) -> None:
    """Messages of before tell, for all that is known, that their alerts fire."""
    if "spoken" not in {column["name"] for column in inspect(connection).get_columns(message_alerts.name)}:
        connection.execute(
            text("ALTER TABLE message_alerts ADD COLUMN spoken VARCHAR(16) NOT NULL DEFAULT 'firing'")
        )


def _name_the_owner(connection: Connection) -> None:
    """Nobody is known yet."""
    connection.execute(text("CREATE TABLE owner (token TEXT NOT NULL)"))


def _let_one_of_several_lead(connection: Connection) -> None:
    """Who was the last to own the state does not matter: whoever begins has a term of its own."""
    connection.execute(text("DROP TABLE owner"))
    for table in (leadership, replicas, marks, arrivals):
        table.create(connection)


STEPS: Final[tuple[Step, ...]] = (
    _add_late_slots,
    _speak_of_groups,
    _add_samples,
    _let_messages_be_queued_again,
    _add_groups,
    _tell_apart_how_messages_speak,
    _name_the_owner,
    _let_one_of_several_lead,
)
"""What lifts a database from schema 1 to 2, 2 to 3, and so on; a step that was released never changes.

Those up to 8 are in SQLite's words: PostgreSQL begins there.
"""

NEWEST: Final = 1 + len(STEPS)
"""The schema that this version of Lapwing writes."""


def refuse_newer(version: int, name: str, newest: int = NEWEST) -> None:
    """Leave a database alone of which it is not known what is in it.

    Raises:
        DataDirectoryError: It was written by a newer version.
    """
    if version > newest:
        raise DataDirectoryError(
            f"{name}: was written by a newer version of Lapwing (schema {version}; this one knows {newest}). "
            "Upgrade Lapwing, or use another data directory."
        )


def migrate(connection: Connection, name: str, steps: Sequence[Step] = STEPS, *, make: bool = True) -> None:
    """Make the tables in a new database, or bring an older one up to date, in the caller's transaction.

    Args:
        connection: To the database, inside a transaction that keeps other writers out.
        name: What messages call the database.
        steps: One for each schema version after the first.
        make: Whether tables are made where there are none.

    Raises:
        DataDirectoryError: The database was written by a newer version, or is empty and to stay so.
    """
    newest = 1 + len(steps)
    if not inspect(connection).has_table(schema_version.name):
        if not make:
            raise DataDirectoryError(f"{name}: no collector has run here yet; `lapwing up` starts one")
        metadata.create_all(connection)
        connection.execute(insert(schema_version).values(version=newest))
        return
    version = connection.execute(select(schema_version.c.version)).scalar_one()
    refuse_newer(version, name, newest)
    for step in steps[version - 1 :]:
        step(connection)
    connection.execute(update(schema_version).values(version=newest))
