-- name: schemas
-- Predictions of every stage, their production rows, labels, and both joined: a table or view per model.
CREATE SCHEMA IF NOT EXISTS predictions_all;
CREATE SCHEMA IF NOT EXISTS predictions;
CREATE SCHEMA IF NOT EXISTS labels;
CREATE SCHEMA IF NOT EXISTS labeled;

-- name: system_tables
-- One row per model and version, written when it is first seen.
CREATE TABLE IF NOT EXISTS models (
    model VARCHAR, version VARCHAR, table_name VARCHAR, first_seen TIMESTAMP
);
-- Results of `record:` rules; where a window was computed again, the newest as_of holds.
CREATE TABLE IF NOT EXISTS metric_values (
    metric VARCHAR, model VARCHAR, series MAP(VARCHAR, VARCHAR), window_start TIMESTAMP, window_end TIMESTAMP,
    value DOUBLE, sample_count BIGINT, label_coverage DOUBLE, as_of TIMESTAMP
);
-- What models are compared with: one row per reference, then its frozen bins with their counts.
CREATE TABLE IF NOT EXISTS reference_sets (
    model VARCHAR, reference VARCHAR, source VARCHAR, sample_count BIGINT, created_at TIMESTAMP
);
CREATE TABLE IF NOT EXISTS reference_bins (
    model VARCHAR, reference VARCHAR, field VARCHAR, kind VARCHAR, bin INTEGER,
    lower DOUBLE, upper DOUBLE, category VARCHAR, n BIGINT, share DOUBLE
);

-- name: production_view
CREATE OR REPLACE VIEW predictions.$table AS
SELECT * FROM predictions_all.$table WHERE stage = 'production';

-- name: unlabeled_view
-- Before the first label arrives nobody knows its type.
CREATE OR REPLACE VIEW labeled.$table AS
SELECT
    *,
    NULL AS label,
    NULL::TIMESTAMP AS label_time,
    NULL::TIMESTAMP AS label_received_at,
    NULL::VARCHAR AS label_source
FROM predictions.$table;

-- name: labeled_view
-- A label finds its prediction by time and id; by id alone where it does not know the time; else by request.
-- The current label is the one with the greatest (time, digest of its content), so the order of arrival never
-- matters; `greatest` and `max` compare structs field by field.
CREATE OR REPLACE VIEW labeled.$table AS
WITH candidates AS NOT MATERIALIZED (
    SELECT
        prediction_id, prediction_time, request_id,
        {'time': time, 'digest': md5(label::VARCHAR), 'label': label, 'received_at': received_at, 'source': source}
            AS candidate
    FROM labels.$table
    WHERE label IS NOT NULL
),
by_time AS (
    SELECT prediction_time, prediction_id, max(candidate) AS candidate
    FROM candidates
    WHERE prediction_id IS NOT NULL AND prediction_time IS NOT NULL
    GROUP BY ALL
),
by_id AS (
    SELECT prediction_id, max(candidate) AS candidate
    FROM candidates
    WHERE prediction_id IS NOT NULL AND prediction_time IS NULL
    GROUP BY ALL
),
by_request AS (
    SELECT request_id, max(candidate) AS candidate
    FROM candidates
    WHERE prediction_id IS NULL
    GROUP BY ALL
)
SELECT
    p.*,
    greatest(t.candidate, i.candidate, r.candidate).label AS label,
    greatest(t.candidate, i.candidate, r.candidate).time AS label_time,
    greatest(t.candidate, i.candidate, r.candidate).received_at AS label_received_at,
    greatest(t.candidate, i.candidate, r.candidate).source AS label_source
FROM predictions.$table AS p
LEFT JOIN by_time AS t ON p.time = t.prediction_time AND p.prediction_id = t.prediction_id
LEFT JOIN by_id AS i ON p.prediction_id = i.prediction_id
LEFT JOIN by_request AS r ON p.request_id = r.request_id;

-- name: commit_progress
-- What the newest commit that carried data covers. The catalog's own tables answer in constant time.
SELECT commit_extra_info FROM __ducklake_metadata_lake.ducklake_snapshot_changes
WHERE commit_extra_info IS NOT NULL
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: small_files
-- Tables with many files below a size, the unit of merging.
SELECT s.schema_name, t.table_name, count(*) AS files
FROM __ducklake_metadata_lake.ducklake_data_file AS f
JOIN __ducklake_metadata_lake.ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
JOIN __ducklake_metadata_lake.ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE f.end_snapshot IS NULL AND f.file_size_bytes < $below
GROUP BY ALL
HAVING count(*) >= $at_least
ORDER BY files DESC;

-- name: table_folder
-- Where a table's files go, relative to the lake's data folder.
SELECT s.path, t.path
FROM __ducklake_metadata_lake.ducklake_table AS t
JOIN __ducklake_metadata_lake.ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL AND s.schema_name = $schema AND t.table_name = $table;

-- name: tables
-- Number, schema, name and folders of the tables with these names. For SQLite itself, as the next ones.
SELECT t.table_id, s.schema_name, t.table_name, s.path AS schema_path, t.path
FROM ducklake_table AS t
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL AND t.table_name IN ($names);

-- name: columns
SELECT table_id, column_id, parent_column, column_name, column_type
FROM ducklake_column
WHERE end_snapshot IS NULL AND table_id IN ($tables)
ORDER BY column_order;

-- name: table_totals
SELECT table_id, record_count, next_row_id, file_size_bytes FROM ducklake_table_stats
WHERE table_id IN ($tables);

-- name: has_column_totals
SELECT 1 FROM ducklake_table_column_stats WHERE table_id IN ($tables) LIMIT 1;

-- name: newest_snapshot
-- Its number, and the number that the next file gets.
SELECT snapshot_id, next_file_id FROM __ducklake_metadata_lake.ducklake_snapshot
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: add_snapshot
INSERT INTO __ducklake_metadata_lake.ducklake_snapshot
SELECT $$1, now(), schema_version, next_catalog_id, next_file_id + $$2
FROM __ducklake_metadata_lake.ducklake_snapshot
WHERE snapshot_id = $$1 - 1;

-- name: add_changes
INSERT INTO __ducklake_metadata_lake.ducklake_snapshot_changes VALUES ($$1, $$2, 'lapwing', 'flush', $$3);

-- name: add_files
INSERT INTO __ducklake_metadata_lake.ducklake_data_file
SELECT
    file, table_id, snapshot, NULL, NULL, path, true, 'parquet', records, size_bytes, footer_bytes, first_row,
    NULL, NULL, NULL, NULL
FROM rows;

-- name: add_statistics
INSERT INTO __ducklake_metadata_lake.ducklake_file_column_stats
SELECT file, table_id, column_id, size_bytes, present, absent, least, greatest, NULL, NULL FROM rows;

-- name: add_totals
INSERT INTO __ducklake_metadata_lake.ducklake_table_stats FROM rows;

-- name: raise_totals
UPDATE __ducklake_metadata_lake.ducklake_table_stats AS t
SET record_count = r.records, next_row_id = r.next_row, file_size_bytes = r.size_bytes
FROM rows AS r
WHERE t.table_id = r.table_id;

-- name: forget_column_totals
-- They bound the values of whole tables, which a flush does not keep up: none is better than a wrong one.
DELETE FROM __ducklake_metadata_lake.ducklake_table_column_stats WHERE table_id IN ($tables);
