-- Pieces of the metrics of embeddings and of texts: samples of two spans.

-- name: lapwing_drawn
-- A sample of an expression's values by segment and window, and one of a reference or another span: of the rows whose ids have the
-- least hashes, which are the same rows whenever it is asked. NULL is left out.
CREATE TEMP MACRO lapwing_drawn(
    model, since, until, measure, reference, reference_since, reference_until, segments, every, as_of, stage, samples,
    min_rows
) AS TABLE
WITH current AS (
    SELECT
        segments AS labels, lapwing_window_start(every, time, since) AS start, measure AS x, prediction_id AS id
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
before AS (
    SELECT segments AS labels, measure AS x, prediction_id AS id
    FROM lapwing_predictions(model, reference_since, reference_until, as_of, stage)
    UNION ALL
    SELECT segments AS labels, measure AS x, prediction_id AS id
    FROM lapwing_referenced(model, reference, reference_since)
),
current_side AS (
    SELECT
        c.labels, c.start, count(c.x) AS sample_count,
        arg_min(c.x, hash(c.id), samples) FILTER (c.x IS NOT NULL) AS sample
    FROM current AS c
    GROUP BY c.labels, c.start
),
reference_side AS (
    SELECT
        b.labels, count(b.x) AS reference_count,
        arg_min(b.x, hash(b.id), samples) FILTER (b.x IS NOT NULL) AS sample
    FROM before AS b
    GROUP BY b.labels
),
beside AS (
    SELECT
        c.labels, c.start, c.sample_count, c.sample AS now,
        coalesce(r.reference_count, 0) AS reference_count, r.sample AS seen
    FROM current_side AS c
    LEFT JOIN reference_side AS r ON c.labels IS NOT DISTINCT FROM r.labels
)
SELECT
    b.labels, b.start, b.sample_count, b.reference_count,
    len(b.now) AS sampled,
    CASE WHEN least(b.sample_count, b.reference_count) >= greatest(min_rows, 2) THEN b.now END AS now,
    b.seen,
    (SELECT k.reference_name FROM lapwing_kept_reference(model, reference, reference_since) AS k) AS reference_name,
    lapwing_too_few(b.reference_count, b.sample_count, greatest(min_rows, 2)) AS reason
FROM beside AS b;

-- name: lapwing_vector
-- A list of finite numbers that can be squared; NULL where it is none, is empty or has gaps.
CREATE TEMP MACRO lapwing_vector(field) AS
CASE
    WHEN list_count(TRY_CAST(field AS DOUBLE[])) = len(TRY_CAST(field AS DOUBLE[]))
        AND lapwing_is_bounded(list_min(TRY_CAST(field AS DOUBLE[])), list_max(TRY_CAST(field AS DOUBLE[])))
        THEN TRY_CAST(field AS DOUBLE[])
END;
