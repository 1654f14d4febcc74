-- name: accuracy
-- group: classification
-- needs: classification, prediction, truth
-- summary: Share of predictions whose class is the true one.
-- formula: sum(w * [prediction = truth]) / sum(w) over predictions with a label
-- source: sklearn.metrics.accuracy_score; interval: Wilson (1927) on the effective number of rows
-- example: FROM accuracy('churn', $window_start, $window_end, segments := {'region': tags['region']})
CREATE TEMP MACRO accuracy(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        (prediction = truth)::INTEGER AS hit,
        lapwing_weight(weight, weights) AS w,
        truth,
        mature
    FROM lapwing_labeled(model, since, until, as_of, stage)
),
sums AS (
    SELECT
        c.labels,
        c.start,
        lapwing_ratio(sum(c.w * c.hit), sum(c.w) FILTER (c.hit IS NOT NULL)) AS share,
        lapwing_effective_count(CASE WHEN c.hit IS NOT NULL THEN c.w END) AS effective,
        count(c.hit) AS sample_count,
        lapwing_coverage(c.truth) AS label_coverage,
        lapwing_maturity(c.mature) AS label_maturity
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    s.share AS value,
    lapwing_wilson(s.share * s.effective, s.effective, confidence).low AS low,
    lapwing_wilson(s.share * s.effective, s.effective, confidence).high AS high,
    s.sample_count,
    s.label_coverage,
    s.label_maturity
FROM sums AS s
ORDER BY ALL;
