-- name: open_alone
-- Until the end of the transaction: a collector that opens a lake may have to make it.
SET LOCAL lock_timeout = '2min';
SELECT pg_advisory_xact_lock(1280331591, hashtext('lapwing lake'));

-- name: is_there
-- Made after the lake, so that one that a crash left unfinished is made again.
SELECT to_regclass('lapwing_turn') IS NOT NULL;

-- name: turn
-- Locked by whoever commits; nothing is ever written to it, so that nobody has to clean it up.
CREATE TABLE IF NOT EXISTS lapwing_turn (none BOOLEAN);

-- name: tables
-- What the commits of each collector cover of its log, and when the last one was.
CREATE TABLE IF NOT EXISTS lapwing_writers (
    writer TEXT PRIMARY KEY, log BIGINT NOT NULL, metrics BIGINT NOT NULL, committed_at TIMESTAMPTZ NOT NULL
);
-- Tables of models, as soon as one is spoken of; two names that differ by case only need two tables.
CREATE TABLE IF NOT EXISTS lapwing_names (model TEXT PRIMARY KEY, table_name TEXT NOT NULL);
-- Versions of models that the lake's table `models` has.
CREATE TABLE IF NOT EXISTS lapwing_versions (number BIGSERIAL PRIMARY KEY, model TEXT NOT NULL, version TEXT);
-- Numbers of records that the lake has, by the process that gave them.
CREATE TABLE IF NOT EXISTS lapwing_accepted (
    process_id TEXT PRIMARY KEY, numbers INT8MULTIRANGE NOT NULL, seen_at TIMESTAMPTZ NOT NULL
);
CREATE INDEX IF NOT EXISTS lapwing_accepted_seen ON lapwing_accepted (seen_at);

-- name: take_turn
-- Before any query of the transaction, so that it sees what those before it have committed.
LOCK TABLE lapwing_turn IN EXCLUSIVE MODE;

-- name: begin_turn
-- As take_turn, of a collector that starts: it ends where this fails, and others may read many files in theirs.
SET LOCAL lock_timeout = '2min';
LOCK TABLE lapwing_turn IN EXCLUSIVE MODE;

-- name: seen
SELECT
    (SELECT schema_version FROM ducklake_snapshot ORDER BY snapshot_id DESC LIMIT 1) AS definitions,
    (
        SELECT coalesce(sum(n.next_row_id), 0)::BIGINT
        FROM ducklake_table_stats AS n
        JOIN ducklake_table AS t ON t.table_id = n.table_id AND t.end_snapshot IS NULL
        WHERE t.schema_id = 0 AND t.table_name IN ('binnings', 'profile_segments')
    ) AS bins,
    (SELECT coalesce(max(number), 0) FROM lapwing_versions) AS models,
    (SELECT max(snapshot_id) FROM ducklake_snapshot) AS snapshot;

-- name: progress
SELECT
    (SELECT log FROM lapwing_writers WHERE writer = $writer) AS log,
    (SELECT max(metrics) FROM lapwing_writers) AS metrics;

-- name: names
SELECT model, table_name FROM lapwing_names;

-- name: claim
INSERT INTO lapwing_names SELECT model, table_name FROM rows;

-- name: versions
SELECT model, version FROM lapwing_versions;

-- name: add_versions
INSERT INTO lapwing_versions (model, version) SELECT model, version FROM rows;

-- name: accepted
-- Which of some numbers others have written already.
SELECT g.process_id, lower(r.run) AS start, upper(r.run) AS after
FROM (VALUES $given) AS g (process_id, numbers)
JOIN lapwing_accepted AS a ON a.process_id = g.process_id
CROSS JOIN LATERAL unnest(a.numbers * g.numbers) AS r (run);

-- name: accept
INSERT INTO lapwing_accepted SELECT process_id, numbers::INT8MULTIRANGE, clock_timestamp() FROM rows
ON CONFLICT (process_id) DO UPDATE
SET numbers = lapwing_accepted.numbers + EXCLUDED.numbers, seen_at = EXCLUDED.seen_at;

-- name: note
INSERT INTO lapwing_writers VALUES ($$1, $$2, $$3, clock_timestamp())
ON CONFLICT (writer) DO UPDATE
SET log = EXCLUDED.log, metrics = EXCLUDED.metrics, committed_at = EXCLUDED.committed_at;

-- name: forget
DELETE FROM lapwing_accepted WHERE seen_at < (
    SELECT seen_at FROM lapwing_accepted ORDER BY seen_at DESC OFFSET $$1 LIMIT 1
);

-- name: losses
-- Processes of whose numbers some never came, to whichever collector.
SELECT process_id, highest, received, (extract(epoch FROM seen_at) * 1000000000)::BIGINT AS seen_ns
FROM (
    SELECT
        process_id, upper(range_merge(numbers)) - 1 AS highest, seen_at,
        (SELECT sum(upper(r.run) - lower(r.run))::BIGINT FROM unnest(numbers) AS r (run)) AS received
    FROM lapwing_accepted
) AS a
WHERE received < highest;

-- name: own_tables
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
AND (starts_with(relname, 'ducklake_') OR starts_with(relname, 'lapwing_'))
ORDER BY relname

-- name: table_that_says
SELECT $told AS name WHERE EXISTS (SELECT FROM $table AS t WHERE $says)
