-- Pieces of the metrics that compare groups of people.

-- name: lapwing_group_rates
-- Rates of each group, with their intervals, by `metric`.
CREATE TEMP MACRO lapwing_group_rates(
    model, since, until, segments, every, as_of, stage, weights, confidence, attribute, threshold
) AS TABLE
WITH classified AS (
    FROM lapwing_classified(
        model, since, until, {
            'labels': segments,
            'member': CASE
                WHEN typeof(attribute) = '"NULL"' THEN error('what tells the groups is missing: attribute := inputs.sex')
                ELSE attribute::VARCHAR
            END
        }, every, as_of, stage, weights
    )
),
cells AS (
    SELECT
        c.labels,
        c.start,
        CASE
            WHEN threshold::DOUBLE IS NULL THEN c.prediction = c.positive_class
            ELSE c.score >= threshold
        END AS chosen,
        c.truth = c.positive_class AS actual,
        count(*) AS predictions,
        count(c.truth) AS known,
        count(c.mature) AS dated,
        count(*) FILTER (c.mature) AS mature,
        count(c.w) AS n,
        coalesce(sum(c.w), 0.0) AS w,
        coalesce(sum(c.w * c.w), 0.0) AS w2
    FROM classified AS c
    GROUP BY ALL
),
rates AS (
    SELECT
        c.*,
        unnest([
            {'metric': 'selection_rate', 'among': c.chosen IS NOT NULL, 'hit': c.chosen},
            {'metric': 'base_rate', 'among': c.actual IS NOT NULL, 'hit': c.actual},
            {'metric': 'accuracy', 'among': (c.chosen = c.actual) IS NOT NULL, 'hit': c.chosen = c.actual},
            {'metric': 'true_positive_rate', 'among': c.actual AND c.chosen IS NOT NULL, 'hit': c.chosen},
            {'metric': 'false_positive_rate', 'among': NOT c.actual AND c.chosen IS NOT NULL, 'hit': c.chosen},
            {'metric': 'positive_predictive_value', 'among': c.chosen AND c.actual IS NOT NULL, 'hit': c.actual}
        ]) AS rate
    FROM cells AS c
),
summed AS (
    SELECT
        r.labels,
        r.start,
        r.rate.metric AS metric,
        sum(r.predictions)::BIGINT AS predictions,
        sum(r.known)::BIGINT AS known,
        sum(r.dated)::BIGINT AS dated,
        sum(r.mature)::BIGINT AS mature,
        coalesce(sum(r.n) FILTER (r.rate.among), 0)::BIGINT AS n,
        sum(r.w) FILTER (r.rate.among) AS w,
        sum(r.w2) FILTER (r.rate.among) AS w2,
        coalesce(sum(r.w) FILTER (r.rate.among AND r.rate.hit), 0) AS hit,
        coalesce(sum(r.w2) FILTER (r.rate.among AND r.rate.hit), 0) AS hit2
    FROM rates AS r
    GROUP BY r.labels, r.start, r.rate.metric
),
shares AS (
    SELECT
        s.*,
        lapwing_ratio(s.hit, s.w) AS share,
        lapwing_ratio((1 - share) ** 2 * s.hit2 + share ** 2 * (s.w2 - s.hit2), s.w ** 2) AS variance
    FROM summed AS s
)
SELECT
    s.* EXCLUDE (labels, w, w2, hit, hit2),
    s.labels.labels AS labels,
    s.labels.member AS member,
    lapwing_share_by_error(s.share, s.variance, lapwing_kish(s.w, s.w2), confidence) AS interval
FROM shares AS s;

-- name: lapwing_group_comparison
-- By metric, the highest rate of a group and the lowest, of those with at least `min_samples` rows.
CREATE TEMP MACRO lapwing_group_comparison(
    model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold, metrics
) AS TABLE
WITH rates AS (
    SELECT r.*, r.share IS NOT NULL AND r.member IS NOT NULL AND r.n >= min_samples AS counts
    FROM lapwing_group_rates(
        model, since, until, segments, every, as_of, stage, weights, confidence, attribute, threshold
    ) AS r
    WHERE list_contains(metrics, r.metric)
),
extremes AS (
    SELECT
        r.labels,
        r.start,
        r.metric,
        sum(r.known) / sum(r.predictions) AS label_coverage,
        lapwing_ratio(sum(r.mature), sum(r.dated)) AS label_maturity,
        count(*) FILTER (r.counts) > 1 AS several,
        min(r.n) FILTER (r.counts) AS fewest,
        max({'share': r.share, 'variance': r.variance, 'interval': r.interval}) FILTER (r.counts) AS top,
        min({'share': r.share, 'variance': r.variance, 'interval': r.interval}) FILTER (r.counts) AS bottom
    FROM rates AS r
    GROUP BY r.labels, r.start, r.metric
)
SELECT
    e.* EXCLUDE (several, fewest),
    CASE WHEN e.several THEN e.fewest ELSE 0 END AS sample_count,
    CASE WHEN e.several THEN e.top.share - e.bottom.share END AS difference,
    CASE WHEN e.several THEN lapwing_ratio(e.bottom.share, e.top.share) END AS ratio
FROM extremes AS e;

-- name: lapwing_group_difference
-- The largest difference between two groups in any of `metrics`, as a metric; unknown where one of them is. Its
-- interval is made of those of both rates (Newcombe, 1998).
CREATE TEMP MACRO lapwing_group_difference(
    model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold, metrics
) AS TABLE
WITH compared AS (
    FROM lapwing_group_comparison(
        model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold,
        metrics
    )
),
bounded AS (
    SELECT
        c.*,
        c.difference - sqrt(
            (c.top.share - c.top.interval.low) ** 2 + (c.bottom.interval.high - c.bottom.share) ** 2
        ) AS low,
        c.difference + sqrt(
            (c.top.interval.high - c.top.share) ** 2 + (c.bottom.share - c.bottom.interval.low) ** 2
        ) AS high
    FROM compared AS c
),
worst AS (
    SELECT
        b.labels,
        b.start,
        count(b.difference) = len(metrics) AS known,
        max({'difference': b.difference, 'low': b.low, 'high': b.high}) FILTER (b.difference IS NOT NULL) AS worst,
        min(b.sample_count) AS sample_count,
        max(b.label_coverage) AS label_coverage,
        max(b.label_maturity) AS label_maturity
    FROM bounded AS b
    GROUP BY b.labels, b.start
)
SELECT
    unnest(w.labels),
    w.start AS window_start,
    lapwing_window_end(every, w.start, since, until) AS window_end,
    CASE WHEN w.known THEN w.worst.difference END AS value,
    CASE WHEN w.known THEN lapwing_at_least(0, w.worst.low) END AS low,
    CASE WHEN w.known THEN lapwing_at_most(1, w.worst.high) END AS high,
    w.sample_count,
    w.label_coverage,
    w.label_maturity
FROM worst AS w
ORDER BY ALL;
