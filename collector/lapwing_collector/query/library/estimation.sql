-- name: estimated_performance
-- group: estimation
-- needs: classification, prediction, probabilities, truth
-- summary: What accuracy, precision, recall, specificity, F1 and ROC-AUC are to be expected, before labels come, by
--   `metric`: from the scores, made probabilities by the labels of another time. It holds as long as they hold: not
--   under concept drift. `realized` is the same metric of the labels that have come.
-- formula: the metric of expected counts: a prediction with probability p is p of a positive row and 1 - p of a negative
--   one; p by isotonic regression of the truth on the score, over `calibration_count` labelled rows. Of several classes
--   each against the rest, with probabilities that sum to 1; accuracy is the mean probability of the predicted class
-- source: confidence-based performance estimation (CBPE) of NannyML; calibration: sklearn.isotonic.IsotonicRegression;
--   interval: where the realized metric comes to lie, since truths are random even where p is right, by the delta method;
--   that of an average is the widest there can be
-- parameter average: of several classes: `macro` (default), `weighted` (by true rows), `none` (a row per class)
-- parameter calibrate_since: the labelled predictions from then on make the probabilities, default 30 days earlier
-- parameter calibrate_until: those before then, default since
-- parameter method: `isotonic`, the default, or `none`, where scores are probabilities already
-- parameter min_samples: how many labelled predictions make probabilities, default 100; with fewer there is no value
-- parameter threshold: scores of the positive class from here on count as predictions of it, where there is one; the
--   default is what was predicted
-- example: FROM estimated_performance('churn', $window_start, $window_end, every := INTERVAL 1 DAY)
CREATE TEMP MACRO estimated_performance(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, calibrate_since := NULL, calibrate_until := NULL, method := 'isotonic',
    min_samples := 100, threshold := NULL, average := 'macro'
) AS TABLE
WITH expected AS (
    SELECT
        e.*,
        e.p IS NOT NULL AND e.chosen IS NOT NULL AND e.w IS NOT NULL AS counts,
        counts AND e.actual IS NOT NULL AS known
    FROM lapwing_expected(
        model, since, until, segments, every, as_of, stage, weights, threshold,
        calibrate_since, calibrate_until, method, min_samples
    ) AS e
),
groups AS (
    SELECT
        e.labels,
        e.start,
        e.class,
        any_value(e.positive_class) AS positive_class,
        lapwing_coverage(e.truth) AS label_coverage,
        lapwing_maturity(e.mature) AS label_maturity,
        max(e.calibration_count) AS calibration_count,
        count(*) FILTER (e.counts) AS n,
        lapwing_kish(sum(e.w) FILTER (e.counts), sum(e.w * e.w) FILTER (e.counts)) AS rows,
        {
            'tp': coalesce(sum(e.w * e.p) FILTER (e.counts AND e.chosen), 0),
            'fp': coalesce(sum(e.w * (1 - e.p)) FILTER (e.counts AND e.chosen), 0),
            'fn': coalesce(sum(e.w * e.p) FILTER (e.counts AND NOT e.chosen), 0),
            'tn': coalesce(sum(e.w * (1 - e.p)) FILTER (e.counts AND NOT e.chosen), 0)
        } AS expected,
        {
            'tp': coalesce(sum(e.w) FILTER (e.known AND e.chosen AND e.actual), 0),
            'fp': coalesce(sum(e.w) FILTER (e.known AND e.chosen AND NOT e.actual), 0),
            'fn': coalesce(sum(e.w) FILTER (e.known AND NOT e.chosen AND e.actual), 0),
            'tn': coalesce(sum(e.w) FILTER (e.known AND NOT e.chosen AND NOT e.actual), 0)
        } AS realized,
        coalesce(sum(e.w * e.w * e.p * (1 - e.p)) FILTER (e.counts AND e.chosen), 0) AS chosen_variance,
        coalesce(sum(e.w * e.w * e.p * (1 - e.p)) FILTER (e.counts AND NOT e.chosen), 0) AS other_variance,
        lapwing_levels(
            coalesce(list(e.score) FILTER (e.counts), []),
            coalesce(list(e.w * e.p) FILTER (e.counts), []),
            coalesce(list(e.w * (1 - e.p)) FILTER (e.counts), [])
        ) AS levels,
        lapwing_levels(
            coalesce(list(e.score) FILTER (e.counts), []),
            coalesce(list(e.w * e.w * e.p * (1 - e.p)) FILTER (e.counts), []),
            coalesce(list(0.0) FILTER (e.counts), [])
        ).pos AS spreads,
        lapwing_levels(
            coalesce(list(e.score) FILTER (e.known), []),
            coalesce(list(if(e.actual, e.w, 0.0)) FILTER (e.known), []),
            coalesce(list(if(e.actual, 0.0, e.w)) FILTER (e.known), [])
        ) AS realized_levels
    FROM expected AS e
    GROUP BY e.labels, e.start, e.class
),
keyed AS (
    SELECT
        g.*,
        row_number() OVER () AS key,
        coalesce(g.levels.pos_from[-1], 0) AS pos_all,
        coalesce(g.levels.neg_from[-1], 0) AS neg_all,
        coalesce(g.realized_levels.pos_from[-1], 0) AS realized_pos,
        coalesce(g.realized_levels.neg_from[-1], 0) AS realized_neg
    FROM groups AS g
),
levels AS (
    SELECT
        k.key,
        unnest(k.levels.pos) AS pos,
        lapwing_ratio(k.neg_all - unnest(k.levels.neg_from) + unnest(k.levels.neg) / 2, k.neg_all) AS below,
        lapwing_ratio(unnest(k.levels.pos_from) - unnest(k.levels.pos) / 2, k.pos_all) AS above,
        unnest(k.spreads) AS spread
    FROM keyed AS k
),
areas AS (
    SELECT
        l.key,
        sum(l.pos * l.below) AS area,
        sum(l.spread * l.below ** 2) AS below_below,
        sum(l.spread * l.below * l.above) AS below_above,
        sum(l.spread * l.above ** 2) AS above_above,
        sum(l.spread * l.below) AS below,
        sum(l.spread * l.above) AS above,
        sum(l.spread) AS spread
    FROM levels AS l
    GROUP BY l.key
),
realized_levels AS (
    SELECT
        k.key,
        unnest(k.realized_levels.pos) * lapwing_ratio(
            k.realized_neg - unnest(k.realized_levels.neg_from) + unnest(k.realized_levels.neg) / 2, k.realized_neg
        ) AS area
    FROM keyed AS k
),
realized_areas AS (
    SELECT r.key, sum(r.area) AS area FROM realized_levels AS r GROUP BY r.key
),
ratios AS (
    SELECT
        k.*,
        unnest([
            {'metric': 'accuracy', 'hit': [1, 0, 0, 1], 'whole': [1, 1, 1, 1]},
            {'metric': 'precision', 'hit': [1, 0, 0, 0], 'whole': [1, 1, 0, 0]},
            {'metric': 'recall', 'hit': [1, 0, 0, 0], 'whole': [1, 0, 1, 0]},
            {'metric': 'specificity', 'hit': [0, 0, 0, 1], 'whole': [0, 1, 0, 1]},
            {'metric': 'f1', 'hit': [2, 0, 0, 0], 'whole': [2, 1, 1, 0]}
        ]) AS ratio
    FROM keyed AS k
),
shares AS (
    SELECT
        r.*,
        lapwing_product(r.ratio.whole, r.expected) AS whole_weight,
        lapwing_ratio(lapwing_product(r.ratio.hit, r.expected), whole_weight) AS share,
        lapwing_ratio(
            lapwing_product(r.ratio.hit, r.realized), lapwing_product(r.ratio.whole, r.realized)
        ) AS realized_share
    FROM ratios AS r
    WHERE r.ratio.metric <> 'accuracy' OR r.positive_class IS NOT NULL
),
found AS (
    SELECT
        s.key,
        s.ratio.metric AS metric,
        s.share,
        s.realized_share,
        lapwing_ratio(
            s.chosen_variance
                * (s.ratio.hit[1] - s.ratio.hit[2] - s.share * (s.ratio.whole[1] - s.ratio.whole[2])) ** 2
            + s.other_variance
                * (s.ratio.hit[3] - s.ratio.hit[4] - s.share * (s.ratio.whole[3] - s.ratio.whole[4])) ** 2,
            s.whole_weight ** 2
        ) AS variance
    FROM shares AS s
    UNION ALL
    SELECT
        k.key,
        'roc_auc',
        lapwing_ratio(a.area, k.pos_all) AS share,
        lapwing_ratio(r.area, k.realized_pos),
        lapwing_ratio(
            a.below_below - 2 * share * a.below + share ** 2 * a.spread, k.pos_all ** 2
        ) - 2 * lapwing_ratio(
            a.below_above - share * (a.below + a.above) + share ** 2 * a.spread, k.pos_all * k.neg_all
        ) + lapwing_ratio(
            a.above_above - 2 * share * a.above + share ** 2 * a.spread, k.neg_all ** 2
        )
    FROM keyed AS k
    LEFT JOIN areas AS a ON k.key = a.key
    LEFT JOIN realized_areas AS r ON k.key = r.key
),
parts AS (
    SELECT
        k.*,
        f.* EXCLUDE (key),
        if(lapwing_average_of_scores(average) = 'none', k.class, k.positive_class) AS shown,
        if(average = 'weighted', k.expected.tp + k.expected.fn, 1.0) AS part,
        if(average = 'weighted', k.realized.tp + k.realized.fn, 1.0) AS realized_part
    FROM found AS f JOIN keyed AS k ON f.key = k.key
),
joined AS (
    SELECT
        p.labels,
        p.start,
        p.shown AS class,
        p.metric,
        lapwing_ratio(sum(p.part * p.share), sum(p.part) FILTER (p.share IS NOT NULL)) AS share,
        lapwing_ratio(
            sum(p.realized_part * p.realized_share), sum(p.realized_part) FILTER (p.realized_share IS NOT NULL)
        ) AS realized_share,
        lapwing_ratio(
            sum(p.part * sqrt(greatest(p.variance, 0))), sum(p.part) FILTER (p.share IS NOT NULL)
        ) ** 2 AS variance,
        min(p.rows) AS rows,
        max(p.calibration_count) AS calibration_count,
        max(p.n) AS n,
        max(p.label_coverage) AS label_coverage,
        max(p.label_maturity) AS label_maturity
    FROM parts AS p
    GROUP BY p.labels, p.start, p.shown, p.metric
    UNION ALL
    SELECT
        k.labels,
        k.start,
        NULL,
        'accuracy',
        lapwing_ratio(sum(k.expected.tp), sum(k.pos_all)),
        lapwing_ratio(sum(k.realized.tp), sum(k.realized.tp + k.realized.fn)),
        lapwing_ratio(sum(k.chosen_variance), sum(k.pos_all) ** 2),
        min(k.rows),
        max(k.calibration_count),
        max(k.n),
        max(k.label_coverage),
        max(k.label_maturity)
    FROM keyed AS k
    WHERE k.positive_class IS NULL
    GROUP BY k.labels, k.start
),
bounded AS (
    SELECT j.*, lapwing_share_by_error(j.share, j.variance, j.rows, confidence) AS interval FROM joined AS j
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.class,
    b.metric,
    b.share AS value,
    b.interval.low,
    b.interval.high,
    b.realized_share AS realized,
    b.calibration_count,
    b.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: estimated_calibration
-- group: estimation
-- needs: classification, prediction, probabilities, truth
-- summary: Whether what is estimated can be trusted: how often labelled predictions are of the positive class, or of each
--   `class`, by the probability that their scores were made. Called for a span whose labels have come; those it was made of come from before.
-- formula: per bin of the probability sum(w * [truth = class]) / sum(w)
-- source: sklearn.calibration.calibration_curve of the probabilities of sklearn.isotonic.IsotonicRegression; interval:
--   Wilson (1927)
-- parameter calibrate_since: the labelled predictions from then on make the probabilities, default 30 days earlier
-- parameter calibrate_until: those before then, default since
-- parameter method: `isotonic`, the default, or `none`, where scores are probabilities already
-- parameter min_samples: how many labelled predictions make probabilities, default 100; with fewer there is no value
-- parameter bins: how many bins from 0 to 1, default 10
-- example: FROM estimated_calibration('churn', $window_start, $window_end)
CREATE TEMP MACRO estimated_calibration(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, calibrate_since := NULL, calibrate_until := NULL, method := 'isotonic',
    min_samples := 100, bins := 10
) AS TABLE
WITH expected AS (
    SELECT
        e.*,
        CASE
            WHEN e.p IS NOT NULL AND e.actual IS NOT NULL AND e.w IS NOT NULL
            THEN greatest(ceil(e.p * bins), 1)::INTEGER
        END AS bin
    FROM lapwing_expected(
        model, since, until, segments, every, as_of, stage, weights, NULL,
        calibrate_since, calibrate_until, method, min_samples
    ) AS e
),
groups AS (
    SELECT
        e.labels,
        e.start,
        e.class,
        lapwing_coverage(e.truth) AS label_coverage,
        lapwing_maturity(e.mature) AS label_maturity,
        max(e.calibration_count) AS calibration_count
    FROM expected AS e
    GROUP BY e.labels, e.start, e.class
),
binned AS (
    SELECT
        e.labels,
        e.start,
        e.class,
        e.bin,
        count(*) AS n,
        lapwing_mean(e.p, e.w).mean AS predicted,
        lapwing_mean(e.actual::INTEGER, e.w).mean AS observed,
        lapwing_kish(sum(e.w), sum(e.w * e.w)) AS rows
    FROM expected AS e
    WHERE e.bin IS NOT NULL
    GROUP BY e.labels, e.start, e.class, e.bin
),
bounded AS (
    SELECT b.*, lapwing_wilson(b.observed * b.rows, b.rows, confidence) AS interval FROM binned AS b
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.class,
    (b.bin - 1) / bins AS bin_start,
    b.bin / bins AS bin_end,
    b.predicted,
    b.observed AS value,
    b.interval.low,
    b.interval.high,
    g.calibration_count,
    b.n AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM bounded AS b JOIN groups AS g ON b.labels = g.labels AND b.start = g.start AND b.class = g.class
ORDER BY ALL;
