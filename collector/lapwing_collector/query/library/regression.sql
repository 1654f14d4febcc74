-- name: mean_error
-- group: regression
-- needs: regression, prediction, truth
-- summary: Mean of prediction minus truth: above 0, the model estimates too much.
-- formula: sum(w * (prediction - truth)) / sum(w)
-- source: numpy.average; interval: normal, by the standard error of the mean
-- example: FROM mean_error('price', $window_start, $window_end, every := INTERVAL 1 DAY)
CREATE TEMP MACRO mean_error(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH rows AS (
    SELECT e.*, e.error AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
)
FROM lapwing_mean_of('rows', every, since, until, confidence, NULL);

-- name: mae
-- group: regression
-- needs: regression, prediction, truth
-- summary: Mean absolute error.
-- formula: sum(w * abs(prediction - truth)) / sum(w)
-- source: sklearn.metrics.mean_absolute_error; interval: normal, by the standard error of the mean
-- example: FROM mae('price', $window_start, $window_end, segments := {'region': tags['region']})
CREATE TEMP MACRO mae(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH rows AS (
    SELECT e.*, abs(e.error) AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: rmse
-- group: regression
-- needs: regression, prediction, truth
-- summary: Root of the mean squared error.
-- formula: sqrt(sum(w * (prediction - truth)²) / sum(w))
-- source: sklearn.metrics.root_mean_squared_error; interval: the root of the normal one of the mean
-- example: FROM rmse('price', $window_start, $window_end)
CREATE TEMP MACRO rmse(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH rows AS (
    SELECT e.*, lapwing_number(e.error ** 2) AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
)
SELECT m.* REPLACE (sqrt(m.value) AS value, sqrt(m.low) AS low, sqrt(m.high) AS high)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0) AS m
ORDER BY ALL;

-- name: mape
-- group: regression
-- needs: regression, prediction, truth
-- summary: Mean absolute error as a share of the truth; rows whose truth is 0 do not count.
-- formula: sum(w * abs(prediction - truth) / abs(truth)) / sum(w), 0.1 for 10 %
-- source: sklearn.metrics.mean_absolute_percentage_error; interval: normal, by the standard error of the mean
-- example: FROM mape('price', $window_start, $window_end)
CREATE TEMP MACRO mape(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH rows AS (
    SELECT e.*, lapwing_ratio(abs(e.error), abs(e.actual)) AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: smape
-- group: regression
-- needs: regression, prediction, truth
-- summary: Mean absolute error as a share of the mean of prediction and truth, from 0 to 2.
-- formula: sum(w * abs(prediction - truth) / ((abs(prediction) + abs(truth)) / 2)) / sum(w); 0 where both are 0
-- source: Makridakis (1993); interval: normal, by the standard error of the mean
-- example: FROM smape('price', $window_start, $window_end)
CREATE TEMP MACRO smape(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH rows AS (
    SELECT e.*, if(e.error = 0, 0, lapwing_ratio(abs(e.error), (abs(e.prediction) + abs(e.actual)) / 2)) AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: r2
-- group: regression
-- needs: regression, prediction, truth
-- summary: Share of the variance of the truth that predictions explain; below 0, their mean would be better.
-- formula: 1 - sum(w * (prediction - truth)²) / sum(w * (truth - mean)²); NULL where the truth is constant
-- source: sklearn.metrics.r2_score; interval: normal, by the delta method
-- example: FROM r2('price', $window_start, $window_end)
CREATE TEMP MACRO r2(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH rows AS (
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights)
),
groups AS (
    SELECT
        r.labels,
        r.start,
        lapwing_mean(CASE WHEN r.error IS NOT NULL THEN r.actual END, r.w) AS actual,
        min(CASE WHEN r.error * r.w IS NOT NULL THEN r.actual END) AS lowest,
        max(CASE WHEN r.error * r.w IS NOT NULL THEN r.actual END) AS highest,
        lapwing_coverage(r.truth) AS label_coverage,
        lapwing_maturity(r.mature) AS label_maturity
    FROM rows AS r
    GROUP BY r.labels, r.start
),
squares AS (
    SELECT
        r.labels,
        r.start,
        r.w,
        lapwing_number(r.error ** 2) AS missed,
        CASE WHEN g.highest > g.lowest THEN lapwing_number((r.actual - g.actual.mean) ** 2) END AS spread
    FROM rows AS r JOIN groups AS g ON r.labels = g.labels AND r.start = g.start
    WHERE r.error * r.w IS NOT NULL
),
sums AS (
    SELECT
        s.labels,
        s.start,
        sum(s.w * s.spread) AS spread,
        lapwing_ratio(sum(s.w * s.missed), sum(s.w * s.spread)) AS unexplained,
        sum((s.w * s.missed) ** 2) AS missed_missed,
        sum(s.w * s.w * s.missed * s.spread) AS missed_spread,
        sum((s.w * s.spread) ** 2) AS spread_spread
    FROM squares AS s
    GROUP BY s.labels, s.start
),
found AS (
    SELECT
        g.*,
        1 - s.unexplained AS value,
        lapwing_ratio(
            sqrt(greatest(
                s.missed_missed - 2 * s.unexplained * s.missed_spread + s.unexplained ** 2 * s.spread_spread, 0
            )),
            s.spread
        ) AS error
    FROM groups AS g LEFT JOIN sums AS s ON g.labels = s.labels AND g.start = s.start
),
bounded AS (
    SELECT f.*, lapwing_normal(f.value, f.error, confidence) AS interval FROM found AS f
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.value,
    b.interval.low,
    lapwing_at_most(1, b.interval.high) AS high,
    b.actual.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: max_error
-- group: regression
-- needs: regression, prediction, truth
-- summary: The largest absolute error.
-- formula: max(abs(prediction - truth))
-- source: sklearn.metrics.max_error
-- example: FROM max_error('price', $window_start, $window_end)
CREATE TEMP MACRO max_error(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1
) AS TABLE
WITH rows AS (
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights)
),
groups AS (
    SELECT
        r.labels,
        r.start,
        max(abs(r.error)) FILTER (r.w IS NOT NULL) AS value,
        count(r.error * r.w) AS sample_count,
        lapwing_coverage(r.truth) AS label_coverage,
        lapwing_maturity(r.mature) AS label_maturity
    FROM rows AS r
    GROUP BY r.labels, r.start
)
SELECT
    unnest(g.labels),
    g.start AS window_start,
    lapwing_window_end(every, g.start, since, until) AS window_end,
    g.* EXCLUDE (labels, start)
FROM groups AS g
ORDER BY ALL;

-- name: median_absolute_error
-- group: regression
-- needs: regression, prediction, truth
-- summary: The absolute error that half of the rows are within.
-- formula: median of abs(prediction - truth), weighted
-- source: sklearn.metrics.median_absolute_error; interval: Woodruff (1952)
-- example: FROM median_absolute_error('price', $window_start, $window_end)
CREATE TEMP MACRO median_absolute_error(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH rows AS (
    SELECT e.*, abs(e.error) AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
)
SELECT
    unnest(q.labels),
    q.start AS window_start,
    lapwing_window_end(every, q.start, since, until) AS window_end,
    q.* EXCLUDE (labels, start, quantile)
FROM lapwing_quantiles_of('rows', [0.5], confidence) AS q
ORDER BY ALL;

-- name: error_quantiles
-- group: regression
-- needs: regression, prediction, truth
-- summary: Quantiles of prediction minus truth.
-- formula: the error up to which a share of the weight is, or the middle to the next where it is just that share
-- source: numpy.quantile(method='averaged_inverted_cdf'); interval: Woodruff (1952)
-- parameter quantiles: a list of shares, default 0.05, 0.25, 0.5, 0.75, 0.95
-- example: FROM error_quantiles('price', $window_start, $window_end)
CREATE TEMP MACRO error_quantiles(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, quantiles := [0.05, 0.25, 0.5, 0.75, 0.95]
) AS TABLE
WITH rows AS (
    SELECT e.*, e.error AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
)
SELECT
    unnest(q.labels),
    q.start AS window_start,
    lapwing_window_end(every, q.start, since, until) AS window_end,
    q.* EXCLUDE (labels, start)
FROM lapwing_quantiles_of('rows', quantiles, confidence) AS q
ORDER BY ALL;

-- name: error_groups
-- group: regression
-- needs: regression, prediction, truth
-- summary: Mean error of the rows that are most overestimated and underestimated, and of the majority between.
-- formula: mean of prediction - truth where it is up to its quantile of `tail` (`under`), from that of 1 - tail on (`over`), and
--   between (`majority`)
-- source: the error bias table of Evidently; interval: normal, by the standard error of the mean
-- parameter tail: which share of the rows is a group on either side, default 0.05
-- example: FROM error_groups('price', $window_start, $window_end)
CREATE TEMP MACRO error_groups(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, tail := 0.05
) AS TABLE
WITH rows AS (
    SELECT e.*, e.error AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights) AS e
),
means AS (
    SELECT
        g.labels,
        g.start,
        g.side,
        lapwing_mean(g.x, g.w) AS mean,
        any_value(g.label_coverage) AS label_coverage,
        any_value(g.label_maturity) AS label_maturity
    FROM lapwing_grouped_errors('rows', tail) AS g
    GROUP BY g.labels, g.start, g.side
),
bounded AS (
    SELECT m.*, lapwing_normal(m.mean.mean, m.mean.error, confidence) AS interval FROM means AS m
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.side,
    b.mean.mean AS value,
    b.interval.low,
    b.interval.high,
    b.mean.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: error_bias
-- group: regression
-- needs: regression, prediction, truth
-- summary: How much a field differs between the rows that are most overestimated and those most underestimated: where it
--   does, the error depends on it.
-- formula: of a number abs(mean where `over` - mean where `under`) / (max - min); of a category half the sum over its
--   values of abs(share where `over` - share where `under`); groups as in error_groups
-- source: the error bias table of Evidently; of categories the total variation distance
-- parameter field: what may be behind the error: a column or an expression
-- parameter tail: which share of the rows is a group on either side, default 0.05
-- example: FROM error_bias('price', $window_start, $window_end, field := inputs.area)
CREATE TEMP MACRO error_bias(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, field := NULL, tail := 0.05
) AS TABLE
WITH rows AS (
    SELECT e.*, e.error AS x
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights, field := CASE
        WHEN typeof(field) = '"NULL"' THEN error('what may be behind the error is missing: field := inputs.area')
        ELSE field
    END) AS e
),
sided AS (
    SELECT g.*, lapwing_as_number(g.field) AS number, g.field::VARCHAR AS category
    FROM lapwing_grouped_errors('rows', tail) AS g
),
numbers AS (
    SELECT
        s.labels,
        s.start,
        lapwing_mean(CASE WHEN s.side = 'under' THEN s.number END, s.w).mean AS under,
        lapwing_mean(CASE WHEN s.side = 'majority' THEN s.number END, s.w).mean AS majority,
        lapwing_mean(CASE WHEN s.side = 'over' THEN s.number END, s.w).mean AS over,
        max(s.number) - min(s.number) AS width,
        count(s.category) AS n,
        any_value(s.label_coverage) AS label_coverage,
        any_value(s.label_maturity) AS label_maturity
    FROM sided AS s
    GROUP BY s.labels, s.start
),
counts AS (
    SELECT s.labels, s.start, s.side, s.category, sum(s.w) AS w
    FROM sided AS s
    WHERE s.category IS NOT NULL
    GROUP BY s.labels, s.start, s.side, s.category
),
shares AS (
    SELECT c.*, c.w / sum(c.w) OVER (PARTITION BY c.labels, c.start, c.side) AS share FROM counts AS c
),
differences AS (
    SELECT
        s.labels,
        s.start,
        s.category,
        sum(s.share) FILTER (s.side = 'over') AS over,
        sum(s.share) FILTER (s.side = 'under') AS under
    FROM shares AS s
    GROUP BY s.labels, s.start, s.category
),
distances AS (
    SELECT
        d.labels,
        d.start,
        CASE WHEN count(d.over) > 0 AND count(d.under) > 0
            THEN sum(abs(coalesce(d.over, 0) - coalesce(d.under, 0))) / 2 END AS distance
    FROM differences AS d
    GROUP BY d.labels, d.start
),
commonest AS (
    SELECT
        s.labels,
        s.start,
        max({'share': s.share, 'category': s.category}) FILTER (s.side = 'under') AS under,
        max({'share': s.share, 'category': s.category}) FILTER (s.side = 'majority') AS majority,
        max({'share': s.share, 'category': s.category}) FILTER (s.side = 'over') AS over
    FROM shares AS s
    GROUP BY s.labels, s.start
)
SELECT
    unnest(n.labels),
    n.start AS window_start,
    lapwing_window_end(every, n.start, since, until) AS window_end,
    n.under,
    n.majority,
    n.over,
    CASE WHEN n.width IS NULL THEN c.under.category END AS commonest_under,
    CASE WHEN n.width IS NULL THEN c.majority.category END AS commonest_majority,
    CASE WHEN n.width IS NULL THEN c.over.category END AS commonest_over,
    CASE WHEN n.width IS NULL THEN d.distance ELSE lapwing_ratio(abs(n.over - n.under), n.width) END AS value,
    n.n AS sample_count,
    n.label_coverage,
    n.label_maturity
FROM numbers AS n
LEFT JOIN distances AS d ON n.labels = d.labels AND n.start = d.start
LEFT JOIN commonest AS c ON n.labels = c.labels AND n.start = c.start
ORDER BY ALL;

-- name: error_normality
-- group: regression
-- needs: regression, prediction, truth
-- summary: Whether errors are spread as a normal distribution has it: the statistic of Jarque and Bera (`value`), its
--   p-value, and skewness and excess kurtosis, which are 0 for a normal one.
-- formula: n / 6 * (skewness² + kurtosis² / 4), p = exp(-value / 2); n as the weighted rows tell as much as
-- source: scipy.stats.jarque_bera, skew, kurtosis
-- example: FROM error_normality('price', $window_start, $window_end)
CREATE TEMP MACRO error_normality(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1
) AS TABLE
WITH rows AS (
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights)
),
groups AS (
    SELECT
        r.labels,
        r.start,
        lapwing_mean(r.error, r.w).mean AS mean,
        max(abs(r.error)) FILTER (r.w IS NOT NULL) AS largest,
        count(r.error * r.w) AS sample_count,
        lapwing_kish(
            sum(r.w) FILTER (r.error IS NOT NULL), sum(r.w * r.w) FILTER (r.error IS NOT NULL)
        ) AS n,
        lapwing_coverage(r.truth) AS label_coverage,
        lapwing_maturity(r.mature) AS label_maturity
    FROM rows AS r
    GROUP BY r.labels, r.start
),
moments AS (
    SELECT
        r.labels,
        r.start,
        lapwing_mean((r.error - g.mean) ** 2, r.w).mean AS second,
        lapwing_mean((r.error - g.mean) ** 3, r.w).mean AS third,
        lapwing_mean((r.error - g.mean) ** 4, r.w).mean AS fourth
    FROM rows AS r JOIN groups AS g ON r.labels = g.labels AND r.start = g.start
    WHERE r.error * r.w IS NOT NULL
    GROUP BY r.labels, r.start
),
shapes AS (
    SELECT
        g.*,
        -- What is left of a constant by rounding has no shape.
        CASE WHEN m.second > (1e-12 * g.largest) ** 2 THEN lapwing_ratio(m.third, m.second ** 1.5) END AS skewness,
        CASE WHEN m.second > (1e-12 * g.largest) ** 2 THEN lapwing_ratio(m.fourth, m.second ** 2) - 3 END AS kurtosis
    FROM groups AS g LEFT JOIN moments AS m ON g.labels = m.labels AND g.start = m.start
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    s.n / 6 * (s.skewness ** 2 + s.kurtosis ** 2 / 4) AS value,
    exp(-s.n / 12 * (s.skewness ** 2 + s.kurtosis ** 2 / 4)) AS p_value,
    s.skewness,
    s.kurtosis,
    s.sample_count,
    s.label_coverage,
    s.label_maturity
FROM shapes AS s
ORDER BY ALL;

-- name: error_distribution
-- group: regression
-- needs: regression, prediction, truth
-- summary: Share of the rows by how much prediction minus truth is.
-- formula: sum(w in the bin) / sum(w), in bins of equal width from the lowest to the highest error
-- source: numpy.histogram
-- parameter bins: how many bins, default 20
-- example: FROM error_distribution('price', $window_start, $window_end)
CREATE TEMP MACRO error_distribution(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, bins := 20
) AS TABLE
WITH rows AS (
    FROM lapwing_errors(model, since, until, segments, every, as_of, stage, weights)
),
spans AS (
    SELECT
        r.labels,
        r.start,
        min(r.error) FILTER (r.w IS NOT NULL) AS lowest,
        max(r.error) FILTER (r.w IS NOT NULL) AS highest,
        lapwing_coverage(r.truth) AS label_coverage,
        lapwing_maturity(r.mature) AS label_maturity
    FROM rows AS r
    GROUP BY r.labels, r.start
),
binned AS (
    SELECT
        s.*,
        (s.highest - s.lowest) / bins AS width,
        least(floor(coalesce(lapwing_ratio(r.error - s.lowest, s.highest - s.lowest), 0) * bins), bins - 1)::INTEGER
            AS bin,
        r.w
    FROM rows AS r JOIN spans AS s ON r.labels = s.labels AND r.start = s.start
    WHERE r.error * r.w IS NOT NULL
),
summed AS (
    SELECT b.* EXCLUDE (w), sum(b.w) AS w, count(*) AS n
    FROM binned AS b
    GROUP BY ALL
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    s.lowest + s.bin * s.width AS bin_start,
    s.lowest + (s.bin + 1) * s.width AS bin_end,
    s.w / sum(s.w) OVER (PARTITION BY s.labels, s.start) AS value,
    s.n AS sample_count,
    s.label_coverage,
    s.label_maturity
FROM summed AS s
ORDER BY ALL;
