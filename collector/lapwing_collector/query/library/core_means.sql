-- Means of values with their errors.

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
