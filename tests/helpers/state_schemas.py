"""State databases as older versions of Lapwing made them."""

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine

from lapwing_collector.state.schema import STEPS, migrate

_FIRST: Final = """
CREATE TABLE schema_version (version INTEGER NOT NULL);
CREATE TABLE rules (id INTEGER NOT NULL, rule_group TEXT NOT NULL, rule_name TEXT NOT NULL,
definition TEXT NOT NULL, slot DATETIME, health VARCHAR(16) NOT NULL, no_data_since DATETIME,
error_since DATETIME, error TEXT, PRIMARY KEY (id), UNIQUE (rule_group, rule_name));
CREATE TABLE history (id INTEGER NOT NULL, rule_group TEXT NOT NULL, rule_name TEXT NOT NULL, status
VARCHAR(16) NOT NULL, reason TEXT NOT NULL, slot DATETIME NOT NULL, window_start DATETIME NOT NULL,
window_end DATETIME NOT NULL, recorded_at DATETIME NOT NULL, fingerprint TEXT NOT NULL, labels JSON
NOT NULL, annotations JSON NOT NULL, state VARCHAR(16) NOT NULL, health VARCHAR(16) NOT NULL, value
DOUBLE, peak DOUBLE, sample_count BIGINT, active_at DATETIME, fired_at DATETIME, recovering_at
DATETIME, resolved_at DATETIME, last_seen_at DATETIME, missing_slots INTEGER NOT NULL, PRIMARY KEY
(id));
CREATE TABLE outbox (id INTEGER NOT NULL, "key" TEXT NOT NULL, target TEXT NOT NULL, status
VARCHAR(16) NOT NULL, fingerprint TEXT NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL, delivery
VARCHAR(16) NOT NULL, attempts INTEGER NOT NULL, next_at DATETIME NOT NULL, created_at DATETIME NOT
NULL, sent_at DATETIME, last_error TEXT, PRIMARY KEY (id), UNIQUE ("key"));
CREATE INDEX outbox_by_alert ON outbox (target, fingerprint);
CREATE INDEX outbox_by_delivery ON outbox (target, delivery, next_at);
CREATE TABLE metric_queue (id INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, metric TEXT NOT NULL,
model TEXT, series JSON NOT NULL, window_start DATETIME NOT NULL, window_end DATETIME NOT NULL,
value DOUBLE, sample_count BIGINT, label_coverage DOUBLE, as_of DATETIME NOT NULL);
CREATE TABLE watermarks (model TEXT NOT NULL, at DATETIME NOT NULL, PRIMARY KEY (model));
CREATE TABLE advance (id INTEGER NOT NULL, at DATETIME NOT NULL, PRIMARY KEY (id));
CREATE TABLE instances (rule_id INTEGER NOT NULL, fingerprint TEXT NOT NULL, labels JSON NOT NULL,
annotations JSON NOT NULL, state VARCHAR(16) NOT NULL, health VARCHAR(16) NOT NULL, value DOUBLE,
peak DOUBLE, sample_count BIGINT, active_at DATETIME, fired_at DATETIME, recovering_at DATETIME,
resolved_at DATETIME, last_seen_at DATETIME, missing_slots INTEGER NOT NULL, PRIMARY KEY (rule_id,
fingerprint), FOREIGN KEY(rule_id) REFERENCES rules (id) ON DELETE CASCADE) WITHOUT ROWID;
INSERT INTO schema_version VALUES (1);
"""
"""What 0.1.0 made."""


def make_older(path: Path, version: int) -> None:
    """Make a state database of an older schema at `path`, as it was when that was the newest."""
    database = sqlite3.connect(path)
    with database:
        database.executescript(_FIRST)
    database.close()
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        migrate(connection, str(path), STEPS[: version - 1])
    engine.dispose()
