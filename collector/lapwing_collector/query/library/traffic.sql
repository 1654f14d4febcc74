-- name: prediction_count
-- group: traffic
-- needs:
-- summary: How many predictions were made, each counted with its sampling weight.
-- formula: sum(w)
-- source: -
-- example: FROM prediction_count('churn', $window_start, $window_end, segments := {'version': version})
CREATE TEMP MACRO prediction_count(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production'
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        coalesce(weight, 1.0) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    sum(c.w) AS value,
    count(*) AS sample_count
FROM chosen AS c
GROUP BY c.labels, c.start
ORDER BY ALL;
