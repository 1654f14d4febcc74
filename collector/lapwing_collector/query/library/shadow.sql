-- name: shadow_pairs
-- group: shadow
-- needs: prediction
-- summary: How many predictions have a partner: another prediction for the same request, of the challenger. `value` is their
--   share of the champion's predictions.
-- formula: pairs / predictions of the champion; several challengers of one request make several pairs
-- source: predictions of two sides by request_id; interval: Wilson (1927)
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_pairs('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_pairs(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    confidence := 0.95, version := NULL, variant := NULL, challenger_stage := 'shadow',
    challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH counts AS (
    SELECT
        p.labels,
        p.start,
        count(*) FILTER (p.side = 'both') AS pairs,
        count(*) FILTER (p.side = 'champion') AS champion_only,
        count(*) FILTER (p.side = 'challenger') AS challenger_only
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, 1, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    GROUP BY p.labels, p.start
),
bounded AS (
    SELECT c.*, lapwing_wilson(c.pairs, c.pairs + c.champion_only, confidence) AS interval FROM counts AS c
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    lapwing_ratio(b.pairs, b.pairs + b.champion_only) AS value,
    b.interval.low,
    b.interval.high,
    b.pairs,
    b.champion_only,
    b.challenger_only,
    b.pairs + b.champion_only AS sample_count
FROM bounded AS b
ORDER BY ALL;

-- name: shadow_disagreement
-- group: shadow
-- needs: classification, prediction
-- summary: Share of the pairs of champion and challenger that are predicted to be of different classes; known before any
--   label.
-- formula: sum(w * [prediction <> prediction of the challenger]) / sum(w) over pairs
-- source: predictions of two sides by request_id; interval: Wilson (1927), for as many rows as the weighted ones tell as
--   much as
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_disagreement('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_disagreement(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, version := NULL, variant := NULL, challenger_stage := 'shadow',
    challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH compared AS (
    SELECT p.*, (p.prediction <> p.other_prediction)::INTEGER AS x
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    WHERE p.side = 'both'
),
shares AS (
    SELECT
        c.labels,
        c.start,
        lapwing_mean(c.x, c.w) AS mean,
        lapwing_ratio(sum((c.w * (1 - c.x)) ** 2), 1) AS same2,
        sum((c.w * c.x) ** 2) AS other2,
        sum(c.w) FILTER (c.x IS NOT NULL) AS w
    FROM compared AS c
    GROUP BY c.labels, c.start
),
bounded AS (
    SELECT
        s.*,
        lapwing_share_by_error(
            s.mean.mean,
            lapwing_ratio((1 - s.mean.mean) ** 2 * s.other2 + s.mean.mean ** 2 * s.same2, s.w ** 2),
            lapwing_kish(s.w, s.other2 + s.same2),
            confidence
        ) AS interval
    FROM shares AS s
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.mean.mean AS value,
    b.interval.low,
    b.interval.high,
    b.mean.n AS sample_count
FROM bounded AS b
ORDER BY ALL;

-- name: shadow_difference
-- group: shadow
-- needs: prediction
-- summary: Mean absolute difference between the numbers of champion and challenger: predictions, or of classifiers the
--   scores of the positive class. `mean_difference` is challenger minus champion; both are known before any label.
-- formula: sum(w * abs(number of the challenger - number)) / sum(w) over pairs
-- source: predictions of two sides by request_id; interval: normal, by the standard error of the mean
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_difference('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, version := NULL, variant := NULL, challenger_stage := 'shadow',
    challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH compared AS (
    SELECT
        p.*,
        lapwing_number(
            coalesce(lapwing_as_number(p.other_prediction), p.other_score)
            - coalesce(lapwing_as_number(p.prediction), p.score)
        ) AS x
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    WHERE p.side = 'both'
),
means AS (
    SELECT
        c.labels,
        c.start,
        lapwing_mean(abs(c.x), c.w) AS mean,
        lapwing_mean(c.x, c.w).mean AS mean_difference
    FROM compared AS c
    GROUP BY c.labels, c.start
),
bounded AS (
    SELECT m.*, lapwing_normal(m.mean.mean, m.mean.error, confidence) AS interval FROM means AS m
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.mean.mean AS value,
    lapwing_at_least(0, b.interval.low) AS low,
    b.interval.high,
    b.mean_difference,
    b.mean.n AS sample_count
FROM bounded AS b
ORDER BY ALL;

-- name: shadow_accuracy_difference
-- group: shadow
-- needs: classification, prediction, truth
-- summary: Accuracy of the challenger minus that of the champion, on the labelled pairs: above 0, the challenger is better.
--   With both accuracies, and how many pairs only one of them has right.
-- formula: accuracy of the challenger - accuracy of the champion, of the same requests
-- source: the exact test of McNemar (1947) for p_value, without weights; interval: Newcombe (1998), method 10 for paired
--   shares, for as many rows as the weighted ones tell as much as
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_accuracy_difference('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_accuracy_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, version := NULL, variant := NULL, challenger_stage := 'shadow',
    challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH judged AS (
    SELECT p.*, p.prediction = p.truth AS hit, p.other_prediction = p.truth AS other_hit
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    WHERE p.side = 'both'
),
counts AS (
    SELECT
        j.labels,
        j.start,
        count(*) FILTER (j.counted) AS n,
        sum(j.w) FILTER (j.counted) AS w,
        lapwing_kish(sum(j.w) FILTER (j.counted), sum(j.w * j.w) FILTER (j.counted)) AS rows,
        coalesce(sum(j.w) FILTER (j.counted AND j.hit AND j.other_hit), 0) AS both_w,
        coalesce(sum(j.w) FILTER (j.counted AND j.hit AND NOT j.other_hit), 0) AS champion_w,
        coalesce(sum(j.w) FILTER (j.counted AND NOT j.hit AND j.other_hit), 0) AS challenger_w,
        count(*) FILTER (j.counted AND j.hit AND NOT j.other_hit) AS champion_right,
        count(*) FILTER (j.counted AND NOT j.hit AND j.other_hit) AS challenger_right,
        lapwing_coverage(j.truth) AS label_coverage,
        lapwing_maturity(j.mature) AS label_maturity
    FROM (SELECT d.*, (d.hit AND d.other_hit) IS NOT NULL AND d.hit IS NOT NULL AND d.other_hit IS NOT NULL
            AND d.w IS NOT NULL AS counted FROM judged AS d) AS j
    GROUP BY j.labels, j.start
),
bounded AS (
    SELECT
        c.*,
        lapwing_paired_shares(
            c.both_w / c.w * c.rows, c.challenger_w / c.w * c.rows, c.champion_w / c.w * c.rows, c.rows, confidence
        ) AS interval
    FROM counts AS c
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    lapwing_ratio(b.both_w + b.champion_w, b.w) AS champion,
    lapwing_ratio(b.both_w + b.challenger_w, b.w) AS challenger,
    b.champion_right,
    b.challenger_right,
    lapwing_ratio(b.challenger_w - b.champion_w, b.w) AS value,
    b.interval.low,
    b.interval.high,
    CASE WHEN b.n > 0 THEN lapwing_exact_mcnemar(b.champion_right, b.challenger_right) END AS p_value,
    b.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: shadow_error_difference
-- group: shadow
-- needs: regression, prediction, truth
-- summary: Mean error of the challenger minus that of the champion, on the labelled pairs: below 0, the challenger is better.
-- formula: mean of abs(prediction - truth), or of its square, of the challenger - that of the champion
-- source: the paired difference; interval: normal, by its standard error
-- parameter error: `absolute`, the default, or `squared`
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_error_difference('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_error_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, error := 'absolute', version := NULL, variant := NULL, challenger_stage := 'shadow',
    challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH pairs AS (
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    )
),
judged AS (
    SELECT
        p.*,
        CASE
            WHEN error = 'absolute' THEN lapwing_number(abs(p.prediction - p.truth))
            WHEN error = 'squared' THEN lapwing_number((p.prediction - p.truth) ** 2)
            ELSE error('error is absolute or squared, and not ' || error)
        END AS x,
        CASE
            WHEN error = 'absolute' THEN lapwing_number(abs(p.other_prediction - p.truth))
            ELSE lapwing_number((p.other_prediction - p.truth) ** 2)
        END AS other_x
    FROM pairs AS p
    WHERE p.side = 'both'
),
means AS (
    SELECT
        j.labels,
        j.start,
        lapwing_mean(CASE WHEN j.other_x IS NOT NULL THEN j.x END, j.w).mean AS champion,
        lapwing_mean(CASE WHEN j.x IS NOT NULL THEN j.other_x END, j.w).mean AS challenger,
        lapwing_mean(lapwing_number(j.other_x - j.x), j.w) AS mean,
        lapwing_coverage(j.truth) AS label_coverage,
        lapwing_maturity(j.mature) AS label_maturity
    FROM judged AS j
    GROUP BY j.labels, j.start
),
bounded AS (
    SELECT m.*, lapwing_normal(m.mean.mean, m.mean.error, confidence) AS interval FROM means AS m
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.champion,
    b.challenger,
    b.mean.mean AS value,
    b.interval.low,
    b.interval.high,
    b.mean.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: shadow_loss_difference
-- group: shadow
-- needs: classification, probabilities, truth
-- summary: Mean loss of the challenger minus that of the champion, on the labelled pairs: below 0, the challenger is better.
-- formula: Brier score or log loss of the challenger - that of the champion
-- source: the paired difference; interval: normal, by its standard error
-- parameter loss: `brier`, the default, or `log`
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_loss_difference('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_loss_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, loss := 'brier', version := NULL, variant := NULL, challenger_stage := 'shadow',
    challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH pairs AS (
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    )
),
judged AS (
    SELECT
        p.*,
        lapwing_loss(loss, p.positive_class, p.truth, p.score, p.scores) AS x,
        lapwing_loss(loss, p.positive_class, p.truth, p.other_score, p.other_scores) AS other_x
    FROM pairs AS p
    WHERE p.side = 'both'
),
means AS (
    SELECT
        j.labels,
        j.start,
        lapwing_mean(CASE WHEN j.other_x IS NOT NULL THEN j.x END, j.w).mean AS champion,
        lapwing_mean(CASE WHEN j.x IS NOT NULL THEN j.other_x END, j.w).mean AS challenger,
        lapwing_mean(lapwing_number(j.other_x - j.x), j.w) AS mean,
        lapwing_coverage(j.truth) AS label_coverage,
        lapwing_maturity(j.mature) AS label_maturity
    FROM judged AS j
    GROUP BY j.labels, j.start
),
bounded AS (
    SELECT m.*, lapwing_normal(m.mean.mean, m.mean.error, confidence) AS interval FROM means AS m
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.champion,
    b.challenger,
    b.mean.mean AS value,
    b.interval.low,
    b.interval.high,
    b.mean.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: shadow_auc_difference
-- group: shadow
-- needs: classification, score, positive_class, truth
-- summary: ROC-AUC of the challenger minus that of the champion, on the labelled pairs: above 0, the challenger is better.
-- formula: ROC-AUC of the challenger - ROC-AUC of the champion, of the same requests
-- source: DeLong, DeLong and Clarke-Pearson (1988) for paired curves; interval and p_value: Student's t with the degrees of
--   freedom of Welch and Satterthwaite, which tell of few positive rows
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_auc_difference('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_auc_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, version := NULL, variant := NULL, challenger_stage := 'shadow',
    challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH judged AS (
    SELECT
        p.*,
        p.truth = p.positive_class AS positive,
        p.w IS NOT NULL AND p.truth IS NOT NULL AND p.score IS NOT NULL AND NOT isnan(p.score)
            AND p.other_score IS NOT NULL AND NOT isnan(p.other_score) AS counted
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    WHERE p.side = 'both'
),
groups AS (
    SELECT
        j.labels,
        j.start,
        count(*) FILTER (j.counted) AS n,
        lapwing_coverage(j.truth) AS label_coverage,
        lapwing_maturity(j.mature) AS label_maturity
    FROM judged AS j
    GROUP BY j.labels, j.start
),
counted AS (
    SELECT j.* FROM judged AS j WHERE j.counted
),
placed AS (
    SELECT p.*, p.other_placement - p.placement AS d FROM lapwing_placed('counted') AS p
),
sums AS (
    SELECT
        p.labels,
        p.start,
        p.positive,
        count(*) AS n,
        sum(p.w) AS w,
        sum(p.w * p.w) AS w2,
        sum(p.w * p.placement) AS area,
        sum(p.w * p.other_placement) AS other_area,
        sum(p.w * p.w * p.d) AS first,
        sum(p.w * p.w * p.d * p.d) AS second
    FROM placed AS p
    GROUP BY p.labels, p.start, p.positive
),
sided AS (
    SELECT
        s.labels,
        s.start,
        s.positive,
        s.n,
        lapwing_ratio(s.area, s.w) AS champion,
        lapwing_ratio(s.other_area, s.w) AS challenger,
        lapwing_ratio(greatest(s.second - 2 * (challenger - champion) * s.first + (challenger - champion) ** 2 * s.w2, 0), s.w ** 2)
            * lapwing_ratio(s.n, s.n - 1) AS variance
    FROM sums AS s
),
found AS (
    SELECT
        g.*,
        p.champion,
        p.challenger,
        p.challenger - p.champion AS difference,
        sqrt(p.variance + q.variance) AS error,
        lapwing_freedom(p.variance, p.n, q.variance, q.n) AS freedom
    FROM groups AS g
    LEFT JOIN sided AS p ON g.labels = p.labels AND g.start = p.start AND p.positive
    LEFT JOIN sided AS q ON g.labels = q.labels AND g.start = q.start AND NOT q.positive
),
bounded AS (
    SELECT
        f.*,
        CASE WHEN f.error > 0 THEN lapwing_t_p(f.difference / f.error, f.freedom) WHEN f.error = 0 THEN 1.0 END AS p_value,
        CASE
            WHEN f.error = 0 AND confidence > 0 THEN 0.0
            WHEN confidence > 0 AND confidence < 1
            THEN lapwing_number(lapwing_t_quantile((1 + confidence::DOUBLE) / 2, f.freedom) * f.error)
        END AS reach
    FROM found AS f
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.champion,
    b.challenger,
    b.difference AS value,
    lapwing_at_least(-1, b.difference - b.reach) AS low,
    lapwing_at_most(1, b.difference + b.reach) AS high,
    b.p_value,
    b.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: shadow_class_difference
-- group: shadow
-- needs: classification, prediction, truth
-- summary: F1, precision, recall, balanced accuracy or Matthews' coefficient of the challenger minus that of the champion, on the
--   labelled pairs: above 0, the challenger is better.
-- formula: the measure of the challenger - that of the champion, of the same requests; of the positive class, where the model has
--   one, else the mean over all classes
-- source: sklearn.metrics (f1_score, precision_score, recall_score, balanced_accuracy_score, matthews_corrcoef); interval: paired bootstrap, bias-corrected and accelerated (Efron, 1987), as
--   scipy.stats.bootstrap(paired=True) has it: of 2,000 resamples, fewer of more than 100,000 pairs
-- parameter measure: `f1`, the default, `precision`, `recall`, `balanced_accuracy` or `mcc`
-- parameter seed: of the draws; equal rows have equal intervals
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_class_difference('churn', $window_start, $window_end, measure := 'recall')
CREATE TEMP MACRO shadow_class_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, measure := 'f1', seed := 1, version := NULL, variant := NULL,
    challenger_stage := 'shadow', challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH judged AS (
    SELECT
        p.*,
        p.w IS NOT NULL AND p.truth IS NOT NULL AND p.prediction IS NOT NULL AND p.other_prediction IS NOT NULL
            AS counted
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    WHERE p.side = 'both'
),
groups AS (
    SELECT
        j.labels,
        j.start,
        count(*) FILTER (j.counted) AS n,
        lapwing_coverage(j.truth) AS label_coverage,
        lapwing_maturity(j.mature) AS label_maturity
    FROM judged AS j
    GROUP BY j.labels, j.start
),
cells AS (
    SELECT
        j.labels,
        j.start,
        j.positive_class,
        j.truth::VARCHAR AS truth,
        j.prediction::VARCHAR AS one,
        j.other_prediction::VARCHAR AS other,
        j.w::DOUBLE AS w,
        count(*) AS n
    FROM judged AS j
    WHERE j.counted
    GROUP BY ALL
),
drawn AS (
    SELECT
        c.labels,
        c.start,
        lapwing_paired_classes(
            CASE
                WHEN measure IN ('f1', 'precision', 'recall', 'balanced_accuracy', 'mcc') THEN measure
                ELSE error('measure is f1, precision, recall, balanced_accuracy or mcc, and not ' || measure)
            END,
            list({'truth': c.truth, 'one': c.one, 'other': c.other, 'w': c.w, 'n': c.n}),
            any_value(c.positive_class)::VARCHAR,
            confidence::DOUBLE,
            seed::BIGINT
        ) AS found
    FROM cells AS c
    GROUP BY c.labels, c.start
)
SELECT
    unnest(g.labels),
    g.start AS window_start,
    lapwing_window_end(every, g.start, since, until) AS window_end,
    d.found.champion,
    d.found.challenger,
    d.found.challenger - d.found.champion AS value,
    d.found.low,
    d.found.high,
    g.n AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM groups AS g
LEFT JOIN drawn AS d ON g.labels = d.labels AND g.start = d.start
ORDER BY ALL;

-- name: shadow_pr_auc_difference
-- group: shadow
-- needs: classification, score, positive_class, truth
-- summary: Average precision of the challenger minus that of the champion, on the labelled pairs: above 0, the challenger is better.
-- formula: average precision of the challenger - that of the champion, of the same requests
-- source: sklearn.metrics.average_precision_score; interval: paired bootstrap, bias-corrected and accelerated (Efron, 1987), as
--   scipy.stats.bootstrap(paired=True) has it: of 2,000 resamples, fewer of more than 100,000 pairs
-- parameter seed: of the draws; equal rows have equal intervals
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_pr_auc_difference('churn', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_pr_auc_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, seed := 1, version := NULL, variant := NULL,
    challenger_stage := 'shadow', challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH judged AS (
    SELECT
        p.*,
        p.w IS NOT NULL AND p.truth IS NOT NULL AND p.score IS NOT NULL AND NOT isnan(p.score)
            AND p.other_score IS NOT NULL AND NOT isnan(p.other_score) AS counted
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    WHERE p.side = 'both'
),
groups AS (
    SELECT
        j.labels,
        j.start,
        count(*) FILTER (j.counted) AS n,
        lapwing_coverage(j.truth) AS label_coverage,
        lapwing_maturity(j.mature) AS label_maturity
    FROM judged AS j
    GROUP BY j.labels, j.start
),
drawn AS (
    SELECT
        j.labels,
        j.start,
        lapwing_paired_numbers(
            'average_precision',
            list({
                'truth': (j.truth = j.positive_class)::DOUBLE,
                'one': j.score::DOUBLE,
                'other': j.other_score::DOUBLE,
                'w': j.w::DOUBLE
            }),
            confidence::DOUBLE,
            seed::BIGINT
        ) AS found
    FROM judged AS j
    WHERE j.counted
    GROUP BY j.labels, j.start
)
SELECT
    unnest(g.labels),
    g.start AS window_start,
    lapwing_window_end(every, g.start, since, until) AS window_end,
    d.found.champion,
    d.found.challenger,
    d.found.challenger - d.found.champion AS value,
    d.found.low,
    d.found.high,
    g.n AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM groups AS g
LEFT JOIN drawn AS d ON g.labels = d.labels AND g.start = d.start
ORDER BY ALL;

-- name: shadow_fit_difference
-- group: shadow
-- needs: regression, prediction, truth
-- summary: Root mean squared error, or R², of the challenger minus that of the champion, on the labelled pairs: for errors the challenger
--   is better below 0, for R² above.
-- formula: the measure of the challenger - that of the champion, of the same requests
-- source: sklearn.metrics (root_mean_squared_error, r2_score); interval: paired bootstrap, bias-corrected and accelerated (Efron, 1987), as
--   scipy.stats.bootstrap(paired=True) has it: of 2,000 resamples, fewer of more than 100,000 pairs
-- parameter measure: `rmse`, the default, or `r2`
-- parameter seed: of the draws; equal rows have equal intervals
-- parameter version: the version of the champion, whose stage is `stage`; default any
-- parameter variant: the variant of the champion; default any
-- parameter challenger_stage: the stage of the challenger, default shadow
-- parameter challenger_version: the version of the challenger; default any
-- parameter challenger_variant: the variant of the challenger; default any
-- example: FROM shadow_fit_difference('price', $window_start, $window_end, challenger_stage := 'candidate')
CREATE TEMP MACRO shadow_fit_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, measure := 'rmse', seed := 1, version := NULL, variant := NULL,
    challenger_stage := 'shadow', challenger_version := NULL, challenger_variant := NULL
) AS TABLE
WITH judged AS (
    SELECT
        p.*,
        p.w IS NOT NULL AND isfinite(p.truth::DOUBLE) AND isfinite(p.prediction::DOUBLE)
            AND isfinite(p.other_prediction::DOUBLE) AS counted
    FROM lapwing_pairs(
        model, since, until, segments, every, as_of, stage, weights, version, variant,
        challenger_stage, challenger_version, challenger_variant
    ) AS p
    WHERE p.side = 'both'
),
groups AS (
    SELECT
        j.labels,
        j.start,
        count(*) FILTER (j.counted) AS n,
        lapwing_coverage(j.truth) AS label_coverage,
        lapwing_maturity(j.mature) AS label_maturity
    FROM judged AS j
    GROUP BY j.labels, j.start
),
drawn AS (
    SELECT
        j.labels,
        j.start,
        lapwing_paired_numbers(
            CASE
                WHEN measure IN ('rmse', 'r2') THEN measure
                ELSE error('measure is rmse or r2, and not ' || measure)
            END,
            list({
                'truth': j.truth::DOUBLE,
                'one': j.prediction::DOUBLE,
                'other': j.other_prediction::DOUBLE,
                'w': j.w::DOUBLE
            }),
            confidence::DOUBLE,
            seed::BIGINT
        ) AS found
    FROM judged AS j
    WHERE j.counted
    GROUP BY j.labels, j.start
)
SELECT
    unnest(g.labels),
    g.start AS window_start,
    lapwing_window_end(every, g.start, since, until) AS window_end,
    d.found.champion,
    d.found.challenger,
    d.found.challenger - d.found.champion AS value,
    d.found.low,
    d.found.high,
    g.n AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM groups AS g
LEFT JOIN drawn AS d ON g.labels = d.labels AND g.start = d.start
ORDER BY ALL;
