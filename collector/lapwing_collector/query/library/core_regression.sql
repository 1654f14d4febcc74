-- Pieces of the metrics of models that predict numbers.

-- name: lapwing_errors
-- Predictions with labels, segments and windows; `error` is prediction - truth, NULL where there is no label, or
-- where either is infinite; `w` is NULL where a row does not count.
CREATE TEMP MACRO lapwing_errors(
    model, since, until, segments, every, as_of, stage, weights, field := NULL
) AS TABLE
SELECT
    segments AS labels,
    lapwing_window_start(every, r.time, since) AS start,
    lapwing_number(r.prediction) AS prediction,
    lapwing_number(r.truth) AS actual,
    lapwing_number(r.prediction - r.truth) AS error,
    r.truth,
    r.mature,
    field AS field,
    lapwing_weight(r.weight, weights) AS weighed,
    CASE WHEN weighed > 0 AND isfinite(weighed) THEN weighed END AS w
FROM lapwing_labeled(model, since, until, as_of, stage) AS r;

-- name: lapwing_as_number
-- The value of a field that holds numbers, NULL of any other.
CREATE TEMP MACRO lapwing_as_number(field) AS
CASE
    WHEN regexp_full_match(typeof(field), 'U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?|FLOAT|DOUBLE|DECIMAL.*')
    THEN lapwing_number(TRY_CAST(field AS DOUBLE))
END;

-- name: lapwing_quantiles_of
-- Quantiles of the column `x` by segment and window, with an interval of each (Woodruff, 1952). `rows` is the name of
-- a CTE with labels, start, x, w, truth and mature.
CREATE TEMP MACRO lapwing_quantiles_of(rows, shares, confidence) AS TABLE
WITH listed AS (
    SELECT
        r.labels,
        r.start,
        list(r.x) FILTER (r.x * r.w IS NOT NULL) AS numbers,
        list(r.w) FILTER (r.x * r.w IS NOT NULL) AS weights,
        count(r.x * r.w) AS n,
        lapwing_kish(sum(r.w) FILTER (r.x IS NOT NULL), sum(r.w * r.w) FILTER (r.x IS NOT NULL)) AS rows,
        lapwing_coverage(r.truth) AS label_coverage,
        lapwing_maturity(r.mature) AS label_maturity
    FROM query_table(rows) AS r
    GROUP BY r.labels, r.start
),
asked AS (
    SELECT DISTINCT unnest(shares::DOUBLE[]) AS quantile
),
reaching AS (
    SELECT
        l.*,
        a.quantile,
        lapwing_two_sided_z(confidence) * sqrt(a.quantile * (1 - a.quantile) / l.rows) AS reach
    FROM listed AS l CROSS JOIN asked AS a
),
found AS (
    SELECT
        r.* EXCLUDE (numbers, weights),
        lapwing_quantiles(
            coalesce(r.numbers, []),
            coalesce(r.weights, []),
            [r.quantile, r.quantile - coalesce(r.reach, 0), r.quantile + coalesce(r.reach, 0)]
        ) AS values
    FROM reaching AS r
)
SELECT
    f.labels,
    f.start,
    f.quantile,
    f.values[1] AS value,
    CASE WHEN f.reach IS NOT NULL THEN f.values[2] END AS low,
    CASE WHEN f.reach IS NOT NULL THEN f.values[3] END AS high,
    f.n AS sample_count,
    f.label_coverage,
    f.label_maturity
FROM found AS f;

-- name: lapwing_grouped_errors
-- Errors by the group that they are in: the 5 % that are lowest (`under`), highest (`over`), and the others. `rows`
-- is the name of a CTE with x, and what `lapwing_quantiles_of` takes.
CREATE TEMP MACRO lapwing_grouped_errors(rows, tail) AS TABLE
WITH borders AS (
    FROM lapwing_quantiles_of(rows, [tail, 1 - tail], 0)
),
both_borders AS (
    SELECT
        b.labels,
        b.start,
        any_value(b.value) FILTER (b.quantile = tail) AS lower,
        any_value(b.value) FILTER (b.quantile = 1 - tail) AS upper,
        any_value(b.label_coverage) AS label_coverage,
        any_value(b.label_maturity) AS label_maturity
    FROM borders AS b
    GROUP BY b.labels, b.start
)
SELECT
    r.*,
    b.label_coverage,
    b.label_maturity,
    CASE
        WHEN b.lower = b.upper THEN 'majority'
        WHEN r.x <= b.lower THEN 'under'
        WHEN r.x >= b.upper THEN 'over'
        ELSE 'majority'
    END AS side
FROM query_table(rows) AS r JOIN both_borders AS b ON r.labels = b.labels AND r.start = b.start
WHERE r.x * r.w IS NOT NULL;
