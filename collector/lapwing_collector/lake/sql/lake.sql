-- name: schemas
-- Predictions of every stage, their production rows, labels, and both joined: a table or view per model.
CREATE SCHEMA IF NOT EXISTS predictions_all;
CREATE SCHEMA IF NOT EXISTS predictions;
CREATE SCHEMA IF NOT EXISTS labels;
CREATE SCHEMA IF NOT EXISTS labeled;
-- Rows of what models are compared with, as far as they are kept.
CREATE SCHEMA IF NOT EXISTS reference_rows;

-- name: system_tables
-- One row per model and version, written when it is first seen.
CREATE TABLE IF NOT EXISTS models (
    model VARCHAR, version VARCHAR, table_name VARCHAR, first_seen TIMESTAMP
);
-- What is known of each model; the newest row of a model holds. `said`, `facts` and `logs_seen` (a file of the
-- logs) are what the description is made of, kept for the next one.
CREATE TABLE IF NOT EXISTS model_descriptions (
    model VARCHAR, table_name VARCHAR, described_at TIMESTAMP, description JSON, said JSON, facts JSON,
    logs_seen BIGINT
);
-- Results of `record:` rules, each as it was known at `as_of`: what was received up to then is in it.
CREATE TABLE IF NOT EXISTS metric_values (
    metric VARCHAR, model VARCHAR, series MAP(VARCHAR, VARCHAR), window_start TIMESTAMP, window_end TIMESTAMP,
    value DOUBLE, sample_count BIGINT, label_coverage DOUBLE, as_of TIMESTAMP
);
-- What is known now: of each window and series the newest row, unless it says that there is nothing any more.
CREATE VIEW IF NOT EXISTS metric_values_latest AS
SELECT * FROM (
    SELECT * FROM metric_values
    QUALIFY row_number() OVER (
        PARTITION BY metric, model, list_sort(map_entries(series)), window_start, window_end ORDER BY as_of DESC
    ) = 1
)
WHERE value IS NOT NULL OR sample_count IS NOT NULL OR label_coverage IS NOT NULL;
-- Bins of fields, which never change; the newest of a field is in use. Latencies have the same in every model.
CREATE TABLE IF NOT EXISTS binnings (
    binning_id VARCHAR, model VARCHAR, table_name VARCHAR, field VARCHAR, kind VARCHAR,
    edges DOUBLE[], categories VARCHAR[], created_from VARCHAR, created_at TIMESTAMP
);
-- Fields by whose values the counts of a model are kept as well.
CREATE TABLE IF NOT EXISTS profile_segments (
    model VARCHAR, table_name VARCHAR, field VARCHAR, created_at TIMESTAMP
);
-- How often the values of a field fell into its bins. Rows that agree in all but the last five columns add up.
CREATE TABLE IF NOT EXISTS profiles (
    model VARCHAR, table_name VARCHAR, version VARCHAR, stage VARCHAR, segment VARCHAR, binning_id VARCHAR,
    field VARCHAR, time TIMESTAMP, grain VARCHAR, counts BIGINT[],
    sum DOUBLE, sum_squares DOUBLE, minimum DOUBLE, maximum DOUBLE
);
-- What models are compared with: one row per version of a reference, then its counts in the model's bins.
CREATE TABLE IF NOT EXISTS reference_sets (
    model VARCHAR, table_name VARCHAR, reference VARCHAR, version BIGINT, role VARCHAR, source VARCHAR,
    policy JSON, sample_count BIGINT, created_at TIMESTAMP, has_rows BOOLEAN
);
CREATE TABLE IF NOT EXISTS reference_bins (
    model VARCHAR, table_name VARCHAR, reference VARCHAR, version BIGINT, field VARCHAR, binning_id VARCHAR,
    counts BIGINT[], sum DOUBLE, sum_squares DOUBLE, minimum DOUBLE, maximum DOUBLE,
    distinct_count BIGINT, quantiles DOUBLE[]
);
-- What the numbers of SDK processes say did not come, whenever that changed; the newest row of a process holds.
CREATE TABLE IF NOT EXISTS record_losses (
    process_id VARCHAR, seen_at TIMESTAMP, observed_at TIMESTAMP, highest BIGINT, received BIGINT, missing BIGINT
);
-- Proofs that somebody's rows were removed; what was asked is kept as hashes with the row's salt only.
CREATE TABLE IF NOT EXISTS erasures (
    erased_at TIMESTAMP, requested_by VARCHAR, model VARCHAR, salt VARCHAR, asked VARCHAR[],
    predictions BIGINT, labels BIGINT, files_rewritten BIGINT, files_deleted BIGINT, verified BOOLEAN,
    remaining VARCHAR[], reference_rows BIGINT
);
-- Runs of the gate: what was evaluated, and what became of it; `document` is all of it, charts included.
CREATE TABLE IF NOT EXISTS evaluations (
    evaluation_id VARCHAR, model VARCHAR, version VARCHAR, passed BOOLEAN, started_at TIMESTAMP, seconds DOUBLE,
    evaluated_by VARCHAR, rules VARCHAR[], data VARCHAR, reference VARCHAR, against VARCHAR,
    window_start TIMESTAMP, window_end TIMESTAMP, sample_count BIGINT, label_count BIGINT, document JSON
);
-- Deployments and notes on the time axis; without a model they concern all of them.
CREATE TABLE IF NOT EXISTS annotations (
    time TIMESTAMP, ended_at TIMESTAMP, kind VARCHAR, model VARCHAR, version VARCHAR, text VARCHAR,
    author VARCHAR, created_at TIMESTAMP
);

-- name: system_views
-- A row for each count of a profile: its place, and what the bin there is.
CREATE VIEW IF NOT EXISTS profile_bins AS
SELECT
    p.model, p.table_name, p.version, p.stage, p.segment, p.field, p.time, p.grain, p.binning_id, p.bin,
    CASE
        WHEN p.bin = 1 THEN 'null'
        WHEN p.bin = 2 THEN 'other'
        WHEN b.kind = 'category' THEN 'category'
        WHEN p.bin = 3 THEN 'under'
        WHEN p.bin = len(b.edges) + 3 THEN 'over'
        ELSE 'range'
    END AS kind,
    b.edges[p.bin - 3] AS lower,
    CASE WHEN p.bin > 2 THEN b.edges[p.bin - 2] END AS upper,
    CASE WHEN p.bin > 2 THEN b.categories[p.bin - 2] END AS category,
    p.n
FROM (
    SELECT * EXCLUDE (counts), unnest(counts) AS n, generate_subscripts(counts, 1) AS bin FROM profiles
) AS p
JOIN (SELECT DISTINCT binning_id, kind, edges, categories FROM binnings) AS b ON b.binning_id = p.binning_id;
-- A row for each row that a rule judged in an evaluation.
CREATE VIEW IF NOT EXISTS evaluation_checks AS
SELECT
    e.evaluation_id, e.model, e.version, e.started_at, e.window_start, e.window_end,
    e.c.rule, e.c.kind, e.c.criticality, e.c.outcome, e.c.labels, e.c.value, e.c.low, e.c.high, e.c.sample_count,
    e.c.label_coverage,
    e.c.sides.reference AS reference_value,
    e.c.sides.production AS production_value,
    e.c.sides.dummy AS dummy_value,
    e.c.text
FROM (
    SELECT * EXCLUDE (document), unnest(from_json(document->'checks', '[{
        "rule": "VARCHAR", "kind": "VARCHAR", "criticality": "VARCHAR", "outcome": "VARCHAR",
        "labels": "MAP(VARCHAR, VARCHAR)", "value": "DOUBLE", "low": "DOUBLE", "high": "DOUBLE",
        "sample_count": "BIGINT", "label_coverage": "DOUBLE",
        "sides": {"reference": "DOUBLE", "production": "DOUBLE", "dummy": "DOUBLE"}, "text": "VARCHAR"
    }]')) AS c
    FROM evaluations
) AS e;

-- name: binnings_of
-- The bins in use of the fields of some tables.
SELECT table_name, binning_id, field, kind, edges, categories
FROM binnings
WHERE table_name IN ($tables) AND created_from <> 'segments'
QUALIFY row_number() OVER (PARTITION BY table_name, field ORDER BY created_at DESC, binning_id) = 1;

-- name: segment_bins_of
-- The categories by which fields tell segments apart whose values are counted in bins of numbers.
SELECT table_name, binning_id, field, kind, edges, categories
FROM binnings
WHERE table_name IN ($tables) AND created_from = 'segments'
QUALIFY row_number() OVER (PARTITION BY table_name, field ORDER BY created_at DESC, binning_id) = 1;

-- name: own_bins
-- Fields of a table whose bins in use are made of its rows.
SELECT field FROM (
    SELECT field, created_from
    FROM binnings
    WHERE table_name = $table AND created_from <> 'segments'
    QUALIFY row_number() OVER (PARTITION BY field ORDER BY created_at DESC, binning_id) = 1
)
WHERE created_from = 'rows';

-- name: bins_that_name
SELECT
    coalesce(bool_or(list_contains(categories, $$3)), false),
    coalesce(bool_or(list_has_any(edges, $$4::DOUBLE[])), false)
FROM binnings WHERE lower(table_name) = lower($$1) AND lower(field) = lower($$2);

-- name: profiles_that_name
SELECT count(*) FROM profiles
WHERE
    lower(table_name) = lower($$1) AND lower(field) = lower($$2)
    AND list_has_any([minimum, maximum], $$3::DOUBLE[]);

-- name: references_that_name
SELECT reference, version FROM reference_bins
WHERE
    lower(table_name) = lower($$1) AND lower(field) = lower($$2)
    AND (list_has_any([minimum, maximum], $$3::DOUBLE[]) OR list_has_any(quantiles, $$3::DOUBLE[]))
ORDER BY ALL;

-- name: descriptions_of
SELECT description, facts FROM model_descriptions WHERE lower(table_name) = lower($table);

-- name: description_of
SELECT description FROM model_descriptions WHERE table_name = $table ORDER BY described_at DESC LIMIT 1;

-- name: segments_of
SELECT DISTINCT table_name, field FROM profile_segments WHERE table_name IN ($tables) ORDER BY ALL;

-- name: production_view
SELECT * FROM predictions_all.$table WHERE stage = 'production';

-- name: unlabeled_view
-- Before the first label arrives nobody knows its type.
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
-- matters; structs are compared field by field. Nearly all predictions have one label, which needs no digest: digests
-- are made where lists have several. Groups keep their keys, so that files are skipped by the time that is asked for.
WITH each_told AS NOT MATERIALIZED (
    SELECT
        prediction_id, prediction_time, request_id,
        {'label': label, 'time': time, 'received_at': received_at, 'source': source} AS told
    FROM labels.$table
    WHERE label IS NOT NULL
),
by_time AS (
    SELECT prediction_time, prediction_id, CASE WHEN len(told) = 1 THEN told[1] ELSE list_max(list_transform(
        told, lambda each: {'time': each.time, 'digest': md5(each.label::VARCHAR), 'told': each}
    )).told END AS held
    FROM (SELECT prediction_time, prediction_id, list(told) AS told FROM each_told WHERE prediction_id IS NOT NULL AND prediction_time IS NOT NULL GROUP BY ALL)
),
by_id AS (
    SELECT prediction_id, CASE WHEN len(told) = 1 THEN told[1] ELSE list_max(list_transform(
        told, lambda each: {'time': each.time, 'digest': md5(each.label::VARCHAR), 'told': each}
    )).told END AS held
    FROM (SELECT prediction_id, list(told) AS told FROM each_told WHERE prediction_id IS NOT NULL AND prediction_time IS NULL GROUP BY ALL)
),
by_request AS (
    SELECT request_id, CASE WHEN len(told) = 1 THEN told[1] ELSE list_max(list_transform(
        told, lambda each: {'time': each.time, 'digest': md5(each.label::VARCHAR), 'told': each}
    )).told END AS held
    FROM (SELECT request_id, list(told) AS told FROM each_told WHERE prediction_id IS NULL GROUP BY ALL)
)
SELECT
    * EXCLUDE (held),
    held.label AS label,
    held.time AS label_time,
    held.received_at AS label_received_at,
    held.source AS label_source
FROM (
    SELECT p.*, CASE WHEN i.held IS NULL AND r.held IS NULL THEN t.held ELSE greatest(
        CASE WHEN t.held IS NOT NULL THEN {'time': t.held.time, 'digest': md5(t.held.label::VARCHAR), 'held': t.held} END,
        CASE WHEN i.held IS NOT NULL THEN {'time': i.held.time, 'digest': md5(i.held.label::VARCHAR), 'held': i.held} END,
        CASE WHEN r.held IS NOT NULL THEN {'time': r.held.time, 'digest': md5(r.held.label::VARCHAR), 'held': r.held} END
    ).held END AS held
    FROM predictions.$table AS p
    LEFT JOIN by_time AS t ON p.time = t.prediction_time AND p.prediction_id = t.prediction_id
    LEFT JOIN by_id AS i ON p.prediction_id = i.prediction_id
    LEFT JOIN by_request AS r ON p.request_id = r.request_id
);

-- name: commit_progress
-- What the newest commit that carried data covers. The catalog's own tables answer in constant time.
SELECT commit_extra_info FROM ducklake_snapshot_changes
WHERE commit_extra_info IS NOT NULL
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: table_folder
-- Where a table's files go, relative to the lake's data folder.
SELECT s.path AS schema_path, t.path
FROM ducklake_table AS t
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL AND s.schema_name = $schema AND t.table_name = $table;

-- name: tables
-- Number, schema, name and folders of the tables with these names. For the catalog itself, as the next ones.
SELECT t.table_id, s.schema_name, t.table_name, s.path AS schema_path, t.path
FROM ducklake_table AS t
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL AND t.table_name IN ($names);

-- name: columns
SELECT table_id, column_id, parent_column, column_name, column_type
FROM ducklake_column
WHERE end_snapshot IS NULL AND table_id IN ($tables)
ORDER BY column_order;

-- name: tables_by_name
SELECT s.schema_name, t.table_name
FROM ducklake_table AS t
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE t.end_snapshot IS NULL
ORDER BY s.schema_name, t.table_name;

-- name: table_totals
SELECT table_id, record_count, next_row_id, file_size_bytes FROM ducklake_table_stats
WHERE table_id IN ($tables);

-- name: large_tables
-- Tables of predictions with at least so many rows.
SELECT t.table_name
FROM ducklake_table AS t
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
JOIN ducklake_table_stats AS n ON n.table_id = t.table_id
WHERE t.end_snapshot IS NULL AND s.schema_name = 'predictions_all' AND n.record_count >= $rows;

-- name: has_column_totals
SELECT 1 FROM ducklake_table_column_stats WHERE table_id IN ($tables) LIMIT 1;

-- name: indexes
-- DuckLake makes none of them; with thousands of models, whoever asks for one would read all.
CREATE INDEX IF NOT EXISTS lapwing_tables ON __ducklake_metadata_lake.main.ducklake_table (table_name);
CREATE INDEX IF NOT EXISTS lapwing_views ON __ducklake_metadata_lake.main.ducklake_view (view_name);
CREATE INDEX IF NOT EXISTS lapwing_columns ON __ducklake_metadata_lake.main.ducklake_column (table_id);
CREATE INDEX IF NOT EXISTS lapwing_files ON __ducklake_metadata_lake.main.ducklake_data_file (table_id);
CREATE INDEX IF NOT EXISTS lapwing_statistics ON __ducklake_metadata_lake.main.ducklake_file_column_stats (table_id);
CREATE INDEX IF NOT EXISTS lapwing_totals ON __ducklake_metadata_lake.main.ducklake_table_stats (table_id);
CREATE INDEX IF NOT EXISTS lapwing_versions ON __ducklake_metadata_lake.main.ducklake_schema_versions (table_id);

-- name: count_nothing
-- Of a table whose totals are not told DuckLake asks the catalog anew for each column that a query reads, each time for
-- a millisecond; of an empty one as well.
INSERT INTO __ducklake_metadata_lake.main.ducklake_table_stats
SELECT t.table_id, 0, 0, 0
FROM __ducklake_metadata_lake.main.ducklake_table AS t
JOIN __ducklake_metadata_lake.main.ducklake_schema AS s
    ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL AND s.schema_name = 'main'
WHERE t.end_snapshot IS NULL
    AND t.table_id NOT IN (SELECT table_id FROM __ducklake_metadata_lake.main.ducklake_table_stats);

-- name: newest_snapshot
-- Its number, and the number that the next file gets.
SELECT snapshot_id, next_file_id FROM ducklake_snapshot
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: add_snapshot
INSERT INTO __ducklake_metadata_lake.ducklake_snapshot
SELECT $$1, now(), schema_version, next_catalog_id, next_file_id + $$2
FROM __ducklake_metadata_lake.ducklake_snapshot
WHERE snapshot_id = $$1 - 1;

-- name: newest_definitions
-- The number of the newest snapshot, and the number that the next table or view gets.
SELECT snapshot_id, next_catalog_id FROM ducklake_snapshot
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: own_names
-- Schemas, and tables and views of the first of them. For the catalog itself, as the next ones.
SELECT schema_name FROM ducklake_schema WHERE end_snapshot IS NULL
UNION ALL
SELECT table_name FROM ducklake_table WHERE end_snapshot IS NULL AND schema_id = 0
UNION ALL
SELECT view_name FROM ducklake_view WHERE end_snapshot IS NULL AND schema_id = 0;

-- name: schema_numbers
SELECT schema_id, schema_name FROM ducklake_schema WHERE end_snapshot IS NULL;

-- name: views
SELECT v.view_id, s.schema_name, v.view_name
FROM ducklake_view AS v
JOIN ducklake_schema AS s ON s.schema_id = v.schema_id AND s.end_snapshot IS NULL
WHERE v.end_snapshot IS NULL AND v.view_name IN ($names);

-- name: add_definitions_snapshot
INSERT INTO __ducklake_metadata_lake.ducklake_snapshot
SELECT $$1, now(), schema_version + 1, next_catalog_id + $$2, next_file_id
FROM __ducklake_metadata_lake.ducklake_snapshot
WHERE snapshot_id = $$1 - 1;

-- name: add_definitions_changes
INSERT INTO __ducklake_metadata_lake.ducklake_snapshot_changes VALUES ($$1, $$2, NULL, NULL, NULL);

-- name: add_tables
INSERT INTO __ducklake_metadata_lake.ducklake_table
SELECT table_id, table_uuid::UUID, $snapshot, NULL, schema_id, name, path, true FROM rows;

-- name: add_columns
INSERT INTO __ducklake_metadata_lake.ducklake_column
SELECT
    column_id, $snapshot, NULL, table_id, column_order, name, kind, NULL, 'NULL', true, parent,
    CASE WHEN kind IN ('struct', 'list', 'map') THEN '' ELSE 'literal' END, 'duckdb'
FROM rows;

-- name: end_column
UPDATE __ducklake_metadata_lake.ducklake_column
SET end_snapshot = $$1
WHERE table_id = $$2 AND column_id = $$3 AND end_snapshot IS NULL;

-- name: add_views
INSERT INTO __ducklake_metadata_lake.ducklake_view
SELECT view_id, view_uuid::UUID, $snapshot, NULL, schema_id, name, 'duckdb', query, '' FROM rows;

-- name: end_views
UPDATE __ducklake_metadata_lake.ducklake_view
SET end_snapshot = $$1
WHERE view_id IN ($views) AND end_snapshot IS NULL;

-- name: add_schema_versions
INSERT INTO __ducklake_metadata_lake.ducklake_schema_versions
SELECT $snapshot, s.schema_version, rows.table_id
FROM rows, __ducklake_metadata_lake.ducklake_snapshot AS s
WHERE s.snapshot_id = $snapshot;

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
INSERT INTO __ducklake_metadata_lake.ducklake_table_stats
SELECT table_id, records, next_row, size_bytes FROM rows;

-- name: raise_totals
UPDATE __ducklake_metadata_lake.ducklake_table_stats AS t
SET record_count = rows.records, next_row_id = rows.next_row, file_size_bytes = rows.size_bytes
FROM rows
WHERE t.table_id = rows.table_id;

-- name: forget_column_totals
-- They bound the values of whole tables, which a flush does not keep up: none is better than a wrong one.
DELETE FROM __ducklake_metadata_lake.ducklake_table_column_stats WHERE table_id IN ($tables);
-- name: table_files
-- Files of one table that the newest snapshot sees, in the order in which they were added.
SELECT
    f.data_file_id, f.path, CASE WHEN f.path_is_relative THEN s.path || t.path END,
    f.record_count, f.file_size_bytes
FROM ducklake_data_file AS f
JOIN ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE f.end_snapshot IS NULL AND s.schema_name = $schema AND t.table_name = $table
ORDER BY f.data_file_id;

-- name: all_files
-- Files of every table that the newest snapshot sees.
SELECT
    s.schema_name, t.table_name, f.data_file_id, f.path, CASE WHEN f.path_is_relative THEN s.path || t.path END,
    f.record_count, f.file_size_bytes
FROM ducklake_data_file AS f
JOIN ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE f.end_snapshot IS NULL;

-- name: timed_files
-- Files of predictions, labels, logs and profiles with the span of their times, the oldest first.
SELECT
    s.schema_name, t.table_name, f.data_file_id, f.path, CASE WHEN f.path_is_relative THEN s.path || t.path END,
    f.record_count, f.file_size_bytes,
    TRY_CAST(c.min_value AS TIMESTAMP), TRY_CAST(c.max_value AS TIMESTAMP)
FROM __ducklake_metadata_lake.ducklake_data_file AS f
JOIN __ducklake_metadata_lake.ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
JOIN __ducklake_metadata_lake.ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
JOIN __ducklake_metadata_lake.ducklake_column AS k
    ON k.table_id = t.table_id AND k.column_name = 'time' AND k.parent_column IS NULL AND k.end_snapshot IS NULL
JOIN __ducklake_metadata_lake.ducklake_file_column_stats AS c
    ON c.data_file_id = f.data_file_id AND c.column_id = k.column_id
WHERE f.end_snapshot IS NULL
    AND (s.schema_name IN ('predictions_all', 'labels') OR (s.schema_name = 'main' AND t.table_name IN ('logs', 'profiles')))
ORDER BY c.max_value NULLS LAST, f.data_file_id;

-- name: new_files
-- The catalog finds the files that came after one by its primary key, however many there are.
SELECT f.data_file_id, s.schema_name, t.table_name, f.record_count, f.file_size_bytes
FROM ducklake_data_file AS f
JOIN ducklake_table AS t ON t.table_id = f.table_id AND t.end_snapshot IS NULL
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE f.data_file_id > $after AND f.end_snapshot IS NULL
ORDER BY f.data_file_id;

-- name: expirable_snapshots
-- Old snapshots, but never the newest one, nor the newest one in which a writer says how far it has come.
-- Times are compared as times: DuckLake itself compares them as text on a SQLite catalog.
SELECT snapshot_id
FROM __ducklake_metadata_lake.ducklake_snapshot
WHERE snapshot_time::TIMESTAMPTZ::TIMESTAMP < ?
    AND snapshot_id < (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot)
    AND snapshot_id NOT IN (
        SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot_changes
        WHERE commit_extra_info IS NOT NULL
        GROUP BY author
    )
ORDER BY snapshot_id
LIMIT $limit;

-- name: deletable_files
-- Files that no snapshot sees since before a time.
SELECT data_file_id, path, path_is_relative::BOOLEAN
FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion
WHERE schedule_start::TIMESTAMPTZ::TIMESTAMP < ?
ORDER BY data_file_id
LIMIT $limit;

-- name: forget_files
DELETE FROM __ducklake_metadata_lake.ducklake_files_scheduled_for_deletion WHERE data_file_id IN ($ids);

-- name: known_files
-- Which files the catalog knows, of those whose commits seemed to fail.
SELECT path FROM ducklake_data_file WHERE path IN ($names);

-- name: known_paths
-- Every file that the catalog knows: of any snapshot, or waiting to be deleted.
SELECT f.path, CASE WHEN f.path_is_relative THEN s.path || t.path END
FROM ducklake_data_file AS f
JOIN ducklake_table AS t ON t.table_id = f.table_id
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id
UNION ALL
SELECT f.path, CASE WHEN f.path_is_relative THEN s.path || t.path END
FROM ducklake_delete_file AS f
JOIN ducklake_table AS t ON t.table_id = f.table_id
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id
UNION ALL
SELECT path, CASE WHEN path_is_relative THEN '' END
FROM ducklake_files_scheduled_for_deletion;

-- name: seen_files
-- Of some files, those that the newest snapshot but one sees, with the rows that it sees of them.
SELECT
    count(*) AS files,
    coalesce(sum(f.record_count), 0) - coalesce(sum(d.delete_count), 0) AS records,
    coalesce(sum(f.file_size_bytes), 0) AS size_bytes
FROM ducklake_data_file AS f
LEFT JOIN ducklake_delete_file AS d
    ON d.data_file_id = f.data_file_id AND d.end_snapshot IS NULL
WHERE f.data_file_id IN ($files) AND f.end_snapshot IS NULL;

-- name: end_files
UPDATE __ducklake_metadata_lake.ducklake_data_file
SET end_snapshot = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot)
WHERE data_file_id IN ($files) AND end_snapshot IS NULL;

-- name: end_deletions
UPDATE __ducklake_metadata_lake.ducklake_delete_file
SET end_snapshot = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot)
WHERE data_file_id IN ($files) AND end_snapshot IS NULL;

-- name: lower_totals
UPDATE __ducklake_metadata_lake.ducklake_table_stats
SET record_count = record_count - $rows, file_size_bytes = file_size_bytes - $size
WHERE table_id = $table;

-- name: tell_of_deletion
UPDATE __ducklake_metadata_lake.ducklake_snapshot_changes
SET
    changes_made = concat_ws(',', nullif(changes_made, ''), 'deleted_from_table:$table'),
    commit_message = 'upkeep'
WHERE snapshot_id = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot);

-- name: delete_files
-- Where the files are that say which rows of a file are deleted.
SELECT d.path, CASE WHEN d.path_is_relative THEN s.path || t.path END
FROM ducklake_delete_file AS d
JOIN ducklake_table AS t ON t.table_id = d.table_id AND t.end_snapshot IS NULL
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE d.data_file_id = $file AND d.end_snapshot IS NULL;

-- name: all_deletions
-- Every file that says for the newest snapshot which rows of another are deleted.
SELECT s.schema_name, t.table_name, d.path, CASE WHEN d.path_is_relative THEN s.path || t.path END AS folder
FROM ducklake_delete_file AS d
JOIN ducklake_table AS t ON t.table_id = d.table_id AND t.end_snapshot IS NULL
JOIN ducklake_schema AS s ON s.schema_id = t.schema_id AND s.end_snapshot IS NULL
WHERE d.end_snapshot IS NULL;

-- name: deletions
-- Files that say which rows of some files are deleted.
SELECT d.data_file_id, d.delete_file_id, d.delete_count FROM ducklake_delete_file AS d
WHERE d.data_file_id IN ($files) AND d.end_snapshot IS NULL
ORDER BY d.data_file_id, d.delete_file_id;

-- name: descriptions
-- The newest of each model.
SELECT model, described_at, description, said, facts, logs_seen FROM model_descriptions
QUALIFY row_number() OVER (PARTITION BY model ORDER BY described_at DESC) = 1;

-- name: newest_column
-- For the catalog itself: the greatest number that a column of a table ever had.
SELECT max(column_id) FROM ducklake_column WHERE table_id = $table;

-- name: tell_of_retyping
-- The newest snapshot, made in the same transaction, changes a table's columns.
UPDATE __ducklake_metadata_lake.ducklake_snapshot_changes
SET changes_made = concat_ws(',', 'altered_table:$table', nullif(changes_made, ''))
WHERE snapshot_id = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot);
UPDATE __ducklake_metadata_lake.ducklake_snapshot
SET schema_version = schema_version + 1
WHERE snapshot_id = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot);
INSERT INTO __ducklake_metadata_lake.ducklake_schema_versions
SELECT snapshot_id, schema_version, $table FROM __ducklake_metadata_lake.ducklake_snapshot
ORDER BY snapshot_id DESC
LIMIT 1;

-- name: retype_column
UPDATE __ducklake_metadata_lake.ducklake_column
SET end_snapshot = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot)
WHERE table_id = $table AND column_id = $column AND end_snapshot IS NULL;
INSERT INTO __ducklake_metadata_lake.ducklake_column
SELECT
    column_id, end_snapshot, NULL, table_id, column_order, column_name, $kind, initial_default, default_value,
    nulls_allowed, parent_column, default_value_type, default_value_dialect
FROM __ducklake_metadata_lake.ducklake_column
WHERE table_id = $table AND column_id = $column
    AND end_snapshot = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot);

-- name: end_inner_columns
UPDATE __ducklake_metadata_lake.ducklake_column
SET end_snapshot = (SELECT max(snapshot_id) FROM __ducklake_metadata_lake.ducklake_snapshot)
WHERE table_id = $table AND parent_column = $column AND end_snapshot IS NULL;

-- name: add_element
-- What a list is made of.
INSERT INTO __ducklake_metadata_lake.ducklake_column
SELECT
    $number, max(snapshot_id), NULL, $table, $number, 'element', $kind, NULL, 'NULL', true, $column, 'literal',
    'duckdb'
FROM __ducklake_metadata_lake.ducklake_snapshot;
