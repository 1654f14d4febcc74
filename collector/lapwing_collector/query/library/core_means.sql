-- Means of values and shares of rows, with their intervals.

-- name: lapwing_mean
-- The weighted mean of finite values, how many there are, and its standard error, linearised. Aggregates.
CREATE TEMP MACRO lapwing_mean(x, w) AS
{
    'n': count(x * w),
    'mean': lapwing_ratio(sum(w * x), sum(w) FILTER (x IS NOT NULL)),
    'error': sqrt(
        greatest(
            sum((w * x) ** 2)
            - 2 * lapwing_ratio(sum(w * x), sum(w) FILTER (x IS NOT NULL)) * sum(w * w * x)
            + lapwing_ratio(sum(w * x), sum(w) FILTER (x IS NOT NULL)) ** 2 * sum(w * w) FILTER (x IS NOT NULL),
            0
        )
        * lapwing_ratio(count(x * w), count(x * w) - 1)
    ) / sum(w) FILTER (x IS NOT NULL)
};

-- name: lapwing_at_least
-- A bound that cannot be below `floor`, where there is one; unknown where the bound is.
CREATE TEMP MACRO lapwing_at_least(floor, x) AS CASE WHEN x < floor THEN floor ELSE x END;

-- name: lapwing_at_most
CREATE TEMP MACRO lapwing_at_most(ceiling, x) AS CASE WHEN x > ceiling THEN ceiling ELSE x END;

-- name: lapwing_mean_of
-- The mean of column `x` by segment and window, as a metric. `rows` is the name of a CTE with labels, start, x, w,
-- truth and mature; bounds below `floor` cannot be.
CREATE TEMP MACRO lapwing_mean_of(rows, every, since, until, confidence, floor) AS TABLE
WITH means AS (
    SELECT
        r.labels,
        r.start,
        lapwing_mean(r.x, r.w) AS mean,
        lapwing_coverage(r.truth) AS label_coverage,
        lapwing_maturity(r.mature) AS label_maturity
    FROM query_table(rows) AS r
    GROUP BY r.labels, r.start
),
bounded AS (
    SELECT m.*, lapwing_normal(m.mean.mean, m.mean.error, confidence) AS interval FROM means AS m
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.mean.mean AS value,
    lapwing_at_least(floor, b.interval.low) AS low,
    b.interval.high,
    b.mean.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: lapwing_weighted_counts
-- Of rows with `hit` 1 or 0 by segment and window: how many of equal weight tell as much (`n`), hits among them, and
-- `sample_count`. `rows` is the name of a CTE with labels, start, hit and w.
CREATE TEMP MACRO lapwing_weighted_counts(rows) AS TABLE
SELECT
    r.labels,
    r.start,
    lapwing_effective_count(CASE WHEN r.hit IS NOT NULL THEN r.w END) AS n,
    lapwing_ratio(sum(r.w * r.hit), sum(r.w) FILTER (r.hit IS NOT NULL)) * n AS hits,
    count(r.w * r.hit) AS sample_count
FROM query_table(rows) AS r
GROUP BY r.labels, r.start;

-- name: lapwing_effective_share_of
-- `hits` of `n` rows by segment and window, as a metric. `counts` is the name of a CTE with labels, start, hits, n and
-- sample_count; other columns stay before the value.
CREATE TEMP MACRO lapwing_effective_share_of(counts, every, since, until, confidence) AS TABLE
WITH bounded AS (
    SELECT c.*, lapwing_wilson(c.hits, c.n, confidence) AS interval FROM query_table(counts) AS c
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.* EXCLUDE (labels, start, hits, n, interval, sample_count),
    lapwing_ratio(b.hits, b.n) AS value,
    b.interval.low,
    b.interval.high,
    b.sample_count
FROM bounded AS b
ORDER BY ALL;

-- name: lapwing_share_of
-- The same where each row counts once, and `counts` has no sample_count.
CREATE TEMP MACRO lapwing_share_of(counts, every, since, until, confidence) AS TABLE
WITH counted AS (
    SELECT c.*, c.n::BIGINT AS sample_count FROM query_table(counts) AS c
)
FROM lapwing_effective_share_of('counted', every, since, until, confidence);
