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
