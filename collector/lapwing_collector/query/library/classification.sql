-- name: accuracy
-- group: classification
-- needs: classification, prediction, truth
-- summary: Share of predictions whose class is the true one.
-- formula: sum(w * [prediction = truth]) / sum(w) over predictions with a label
-- source: sklearn.metrics.accuracy_score; interval: Wilson (1927), for as many rows as the weighted ones tell as much as
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM accuracy('churn', $window_start, $window_end, segments := {'region': tags['region']})
CREATE TEMP MACRO accuracy(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, threshold := NULL
) AS TABLE
WITH cells AS (
    FROM lapwing_cells(model, since, until, segments, every, as_of, stage, weights, threshold)
),
groups AS (
    FROM lapwing_cell_groups('cells')
),
right_ones AS (
    SELECT c.labels, c.start, sum(c.w) AS w, sum(c.w2) AS w2
    FROM cells AS c
    WHERE c.truth = c.prediction
    GROUP BY c.labels, c.start
),
shares AS (
    SELECT
        g.*,
        lapwing_ratio(coalesce(r.w, 0), g.w) AS share,
        ((1 - share) ** 2 * coalesce(r.w2, 0) + share ** 2 * (g.w2 - coalesce(r.w2, 0))) / g.w ** 2 AS variance
    FROM groups AS g LEFT JOIN right_ones AS r ON g.labels = r.labels AND g.start = r.start
),
bounded AS (
    SELECT s.*, lapwing_share_by_error(s.share, s.variance, lapwing_kish(s.w, s.w2), confidence) AS interval
    FROM shares AS s
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.share AS value,
    b.interval.low,
    b.interval.high,
    b.n::BIGINT AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: precision_score
-- group: classification
-- needs: classification, prediction, truth
-- summary: Share of the predictions of a class that are right.
-- formula: TP / (TP + FP)
-- source: sklearn.metrics.precision_score(zero_division=nan); interval: Wilson's on the rows that the variance of the
--   delta method tells of
-- parameter average: `binary`, the positive class alone, is the default where the model has one, `macro` elsewhere;
--   `micro`, `weighted` (by true rows), `none` (a row per class)
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM precision_score('churn', $window_start, $window_end)
CREATE TEMP MACRO precision_score(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, average := NULL, threshold := NULL
) AS TABLE
SELECT unnest(m.labels), m.* EXCLUDE (labels)
FROM lapwing_class_metric(
    model, since, until, segments, every, as_of, stage, weights, confidence, threshold, average,
    {'tp': 1, 'fp': 0, 'fn': 0, 'tn': 0},
    {'tp': 1, 'fp': 1, 'fn': 0, 'tn': 0}
) AS m
ORDER BY ALL;

-- name: recall_score
-- group: classification
-- needs: classification, prediction, truth
-- summary: Share of the rows of a class that are predicted to be of it.
-- formula: TP / (TP + FN)
-- source: sklearn.metrics.recall_score(zero_division=nan); interval: Wilson's on the rows that the variance of the
--   delta method tells of
-- parameter average: `binary`, the positive class alone, is the default where the model has one, `macro` elsewhere;
--   `micro`, `weighted` (by true rows), `none` (a row per class)
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM recall_score('churn', $window_start, $window_end)
CREATE TEMP MACRO recall_score(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, average := NULL, threshold := NULL
) AS TABLE
SELECT unnest(m.labels), m.* EXCLUDE (labels)
FROM lapwing_class_metric(
    model, since, until, segments, every, as_of, stage, weights, confidence, threshold, average,
    {'tp': 1, 'fp': 0, 'fn': 0, 'tn': 0},
    {'tp': 1, 'fp': 0, 'fn': 1, 'tn': 0}
) AS m
ORDER BY ALL;

-- name: f_beta
-- group: classification
-- needs: classification, prediction, truth
-- summary: Harmonic mean of precision and recall, where recall counts beta times as much.
-- formula: (1 + beta²) TP / ((1 + beta²) TP + beta² FN + FP)
-- source: sklearn.metrics.fbeta_score(zero_division=nan); interval: Wilson's on the rows that the variance of the
--   delta method tells of
-- parameter beta: how many times as much as precision recall counts; default 1, the F1 score
-- parameter average: `binary`, the positive class alone, is the default where the model has one, `macro` elsewhere;
--   `micro`, `weighted` (by true rows), `none` (a row per class)
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM f_beta('churn', $window_start, $window_end)
CREATE TEMP MACRO f_beta(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, beta := 1, average := NULL, threshold := NULL
) AS TABLE
SELECT unnest(m.labels), m.* EXCLUDE (labels)
FROM lapwing_class_metric(
    model, since, until, segments, every, as_of, stage, weights, confidence, threshold, average,
    {'tp': 1 + beta ** 2, 'fp': 0, 'fn': 0, 'tn': 0},
    {'tp': 1 + beta ** 2, 'fp': 1, 'fn': beta ** 2, 'tn': 0}
) AS m
ORDER BY ALL;

-- name: specificity
-- group: classification
-- needs: classification, prediction, truth
-- summary: Share of the rows outside a class that are predicted to be outside it.
-- formula: TN / (TN + FP)
-- source: sklearn.metrics.recall_score(pos_label=the other class); interval: Wilson's on the rows that the variance of the
--   delta method tells of
-- parameter average: `binary`, the positive class alone, is the default where the model has one, `macro` elsewhere;
--   `micro`, `weighted` (by true rows), `none` (a row per class)
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM specificity('churn', $window_start, $window_end)
CREATE TEMP MACRO specificity(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, average := NULL, threshold := NULL
) AS TABLE
SELECT unnest(m.labels), m.* EXCLUDE (labels)
FROM lapwing_class_metric(
    model, since, until, segments, every, as_of, stage, weights, confidence, threshold, average,
    {'tp': 0, 'fp': 0, 'fn': 0, 'tn': 1},
    {'tp': 0, 'fp': 1, 'fn': 0, 'tn': 1}
) AS m
ORDER BY ALL;

-- name: roc_auc
-- group: classification
-- needs: classification, probabilities, truth
-- summary: How likely a row of the class has a higher score than one outside it; equal scores count half.
-- formula: sum over pairs of w_pos * w_neg * ([score_pos > score_neg] + [score_pos = score_neg] / 2), by the sum of
--   w_pos * w_neg; of several classes each against the rest
-- source: sklearn.metrics.roc_auc_score(multi_class='ovr'); interval: on the scale of log odds, by Student's t, with the
--   variance of DeLong, DeLong and Clarke-Pearson (1988), drawn towards that of Hanley and McNeil (1982) by as much as
--   five rows of the rarer kind tell
-- parameter average: of several classes: `macro` (default), `weighted` (by true rows), `none` (a row per class)
-- example: FROM roc_auc('churn', $window_start, $window_end, every := INTERVAL 1 DAY)
CREATE TEMP MACRO roc_auc(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, average := 'macro'
) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, segments, every, as_of, stage, weights)
),
placed AS (
    SELECT
        s.key,
        s.pos,
        s.pos2,
        s.neg2,
        lapwing_ratio(s.neg_all - s.neg_from + s.neg / 2, s.neg_all) AS below,
        lapwing_ratio(s.pos_from - s.pos / 2, s.pos_all) AS above
    FROM lapwing_steps('ladders') AS s
),
sums AS (
    SELECT
        p.key,
        sum(p.pos * p.below) AS area,
        sum(p.pos2 * p.below) AS pos_first,
        sum(p.pos2 * p.below ** 2) AS pos_second,
        sum(p.neg2 * p.above) AS neg_first,
        sum(p.neg2 * p.above ** 2) AS neg_second
    FROM placed AS p
    GROUP BY p.key
),
areas AS (
    SELECT
        k.*,
        lapwing_ratio(s.area, k.pos_all) AS share,
        lapwing_ratio(s.pos_second - 2 * share * s.pos_first + share ** 2 * k.pos2_all, k.pos_all ** 2)
            * lapwing_ratio(k.pos_n, k.pos_n - 1) AS pos_variance,
        lapwing_ratio(s.neg_second - 2 * share * s.neg_first + share ** 2 * k.neg2_all, k.neg_all ** 2)
            * lapwing_ratio(k.neg_n, k.neg_n - 1) AS neg_variance
    FROM lapwing_classes('ladders') AS k LEFT JOIN sums AS s ON k.key = s.key
),
counted AS (
    SELECT
        a.*,
        lapwing_kish(a.pos_all, a.pos2_all) AS pos_rows,
        lapwing_kish(a.neg_all, a.neg2_all) AS neg_rows
    FROM areas AS a
),
found AS (
    SELECT
        c.*,
        least(c.pos_rows, c.neg_rows) AS rows,
        lapwing_area_error(
            c.share, c.pos_variance, c.pos_n, c.pos_rows, c.neg_variance, c.neg_n, c.neg_rows, confidence
        ) AS error
    FROM counted AS c
)
FROM lapwing_averaged('found', average, every, since, until, confidence, 'logit');

-- name: pr_auc
-- group: classification
-- needs: classification, probabilities, truth
-- summary: Average precision: the precision at each score, by how much the recall grows there.
-- formula: sum over scores, from the highest, of (recall - recall before) * precision
-- source: sklearn.metrics.average_precision_score; interval: the binomial variance for the true rows (Boyd, Eng and
--   Page, 2013), in Wilson's formula
-- parameter average: of several classes: `macro` (default), `weighted` (by true rows), `none` (a row per class)
-- example: FROM pr_auc('churn', $window_start, $window_end)
CREATE TEMP MACRO pr_auc(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, average := 'macro'
) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, segments, every, as_of, stage, weights)
),
sums AS (
    SELECT s.key, sum(s.pos * lapwing_ratio(s.pos_from, s.pos_from + s.neg_from)) AS area
    FROM lapwing_steps('ladders') AS s
    GROUP BY s.key
),
found AS (
    SELECT
        k.*,
        lapwing_kish(k.pos_all, k.pos2_all) AS rows,
        lapwing_ratio(s.area, k.pos_all) AS share,
        sqrt(lapwing_ratio(share * (1 - share), lapwing_kish(k.pos_all, k.pos2_all))) AS error
    FROM lapwing_classes('ladders') AS k LEFT JOIN sums AS s ON k.key = s.key
)
FROM lapwing_averaged('found', average, every, since, until, confidence, 'wilson');

-- name: log_loss
-- group: classification
-- needs: classification, probabilities, truth
-- summary: Mean negative logarithm of the probability that was given to the true class; scores outside 0 to 1 do not
--   count.
-- formula: sum(w * -ln(p)) / sum(w), p kept from 0 and 1 by 2^-52
-- source: sklearn.metrics.log_loss; interval: normal, by the standard error of the mean
-- example: FROM log_loss('churn', $window_start, $window_end)
CREATE TEMP MACRO log_loss(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH losses AS (
    SELECT c.*, lapwing_log_loss(c.positive_class, c.truth, c.score, c.scores) AS x
    FROM lapwing_classified(model, since, until, segments, every, as_of, stage, weights) AS c
)
FROM lapwing_mean_of('losses', every, since, until, confidence, 0);

-- name: brier
-- group: classification
-- needs: classification, probabilities, truth
-- summary: Mean squared difference between the probability of a class and what came, 1 or 0; of several classes their
--   sum. Scores outside 0 to 1 do not count.
-- formula: sum(w * (p - [truth = positive])²) / sum(w); of several classes sum(w * sum over classes of
--   (p - [truth = class])²) / sum(w)
-- source: sklearn.metrics.brier_score_loss; interval: normal, by the standard error of the mean
-- example: FROM brier('churn', $window_start, $window_end)
CREATE TEMP MACRO brier(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH squares AS (
    SELECT c.*, lapwing_brier(c.positive_class, c.truth, c.score, c.scores) AS x
    FROM lapwing_classified(model, since, until, segments, every, as_of, stage, weights) AS c
)
FROM lapwing_mean_of('squares', every, since, until, confidence, 0);

-- name: calibration
-- group: classification
-- needs: classification, probabilities, truth
-- summary: How often rows are of the class, by the score that they were given: equal where scores are probabilities.
-- formula: per bin sum(w * [truth = class]) / sum(w); bins are of equal width and closed above, the first below too
-- source: sklearn.calibration.calibration_curve; interval: Wilson (1927)
-- parameter bins: how many bins from 0 to 1, default 10
-- example: FROM calibration('churn', $window_start, $window_end)
CREATE TEMP MACRO calibration(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, bins := 10
) AS TABLE
WITH bounded AS (
    SELECT b.*, lapwing_wilson(b.observed * b.rows, b.rows, confidence) AS interval
    FROM lapwing_calibration_bins(model, since, until, segments, every, as_of, stage, weights, bins) AS b
    WHERE b.n > 0
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.class,
    b.bin_start,
    b.bin_end,
    b.predicted,
    b.observed AS value,
    b.interval.low,
    b.interval.high,
    b.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: calibration_error
-- group: classification
-- needs: classification, probabilities, truth
-- summary: Expected calibration error: how far scores are from how often their rows are of the class, on average.
-- formula: sum over bins of share of the rows * abs(mean of [truth = class] - mean score)
-- source: Naeini, Cooper and Hauskrecht (2015)
-- parameter bins: how many bins from 0 to 1, default 10
-- parameter average: of several classes: `macro` (default), `weighted` (by true rows), `none` (a row per class)
-- example: FROM calibration_error('churn', $window_start, $window_end)
CREATE TEMP MACRO calibration_error(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, bins := 10, average := 'macro'
) AS TABLE
WITH found AS (
    SELECT
        b.labels,
        b.start,
        b.class,
        any_value(b.positive_class) AS positive_class,
        lapwing_ratio(sum(b.w * abs(b.observed - b.predicted)), sum(b.w)) AS share,
        NULL::DOUBLE AS error,
        NULL::DOUBLE AS rows,
        sum(b.n)::BIGINT AS n,
        sum(b.w * b.observed) AS pos_all,
        any_value(b.label_coverage) AS label_coverage,
        any_value(b.label_maturity) AS label_maturity
    FROM lapwing_calibration_bins(model, since, until, segments, every, as_of, stage, weights, bins) AS b
    GROUP BY b.labels, b.start, b.class
)
SELECT a.* EXCLUDE (low, high) FROM lapwing_averaged('found', average, every, since, until, 0, 'wilson') AS a;

-- name: confusion_matrix
-- group: classification
-- needs: classification, prediction, truth
-- summary: How many predictions there are of each class, by the true class.
-- formula: sum(w) by true and predicted class
-- source: sklearn.metrics.confusion_matrix
-- parameter normalize: `truth`, `prediction` or `all`: shares of those instead of counts; default NULL
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM confusion_matrix('churn', $window_start, $window_end)
CREATE TEMP MACRO confusion_matrix(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, normalize := NULL, threshold := NULL
) AS TABLE
WITH cells AS (
    FROM lapwing_cells(model, since, until, segments, every, as_of, stage, weights, threshold)
),
groups AS (
    FROM lapwing_cell_groups('cells')
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.truth,
    c.prediction,
    CASE
        WHEN normalize IS NULL THEN c.w
        WHEN normalize = 'truth' THEN lapwing_ratio(c.w, sum(c.w) OVER (PARTITION BY c.labels, c.start, c.truth))
        WHEN normalize = 'prediction'
        THEN lapwing_ratio(c.w, sum(c.w) OVER (PARTITION BY c.labels, c.start, c.prediction))
        WHEN normalize = 'all' THEN lapwing_ratio(c.w, g.w)
        ELSE error('normalize is truth, prediction or all, and not ' || normalize)
    END AS value,
    c.n AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM cells AS c JOIN groups AS g ON c.labels = g.labels AND c.start = g.start
WHERE c.truth IS NOT NULL AND c.prediction IS NOT NULL
ORDER BY ALL;

-- name: class_balance
-- group: classification
-- needs: classification, prediction
-- summary: Share of each class among the predictions, and among the labels that are known of them.
-- formula: sum(w of the class) / sum(w), by `source`: `prediction` or `truth`
-- source: pandas.Series.value_counts(normalize=True); interval: Wilson (1927), for as many rows as the weighted ones
--   tell as much as
-- example: FROM class_balance('churn', $window_start, $window_end)
CREATE TEMP MACRO class_balance(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95
) AS TABLE
WITH cells AS (
    FROM lapwing_cells(model, since, until, segments, every, as_of, stage, weights, NULL)
),
groups AS (
    FROM lapwing_cell_groups('cells')
),
named AS (
    SELECT c.labels, c.start, 'prediction' AS source, c.prediction AS class, c.n, c.w, c.w2 FROM cells AS c
    UNION ALL
    SELECT c.labels, c.start, 'truth', c.truth, c.n, c.w, c.w2 FROM cells AS c
),
summed AS (
    SELECT n.labels, n.start, n.source, n.class, sum(n.n)::BIGINT AS n, sum(n.w) AS w, sum(n.w2) AS w2
    FROM named AS n
    WHERE n.class IS NOT NULL
    GROUP BY n.labels, n.start, n.source, n.class
),
shares AS (
    SELECT
        s.*,
        sum(s.w) OVER same AS all_w,
        sum(s.w2) OVER same AS all_w2,
        sum(s.n) OVER same AS all_n
    FROM summed AS s
    WINDOW same AS (PARTITION BY s.labels, s.start, s.source)
),
errors AS (
    SELECT
        s.*,
        lapwing_ratio(s.w, s.all_w) AS share,
        lapwing_ratio((1 - share) ** 2 * s.w2 + share ** 2 * (s.all_w2 - s.w2), s.all_w ** 2) AS variance
    FROM shares AS s
),
bounded AS (
    SELECT e.*, lapwing_share_by_error(e.share, e.variance, lapwing_kish(e.all_w, e.all_w2), confidence) AS interval
    FROM errors AS e
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.source,
    b.class,
    b.share AS value,
    b.interval.low,
    b.interval.high,
    b.all_n::BIGINT AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM bounded AS b JOIN groups AS g ON b.labels = g.labels AND b.start = g.start
ORDER BY ALL;

-- name: class_separation
-- group: classification
-- needs: classification, probabilities, truth
-- summary: How the scores for a class are spread among the rows of each true class: the less they overlap, the better
--   they tell the class from the others.
-- formula: share of the rows of a true class by bins of equal width, from 0 to 1, or from the lowest to the highest
--   score where some are beyond
-- source: numpy.histogram
-- parameter bins: how many bins, default 20
-- example: FROM class_separation('churn', $window_start, $window_end)
CREATE TEMP MACRO class_separation(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, bins := 20
) AS TABLE
WITH scores AS (
    FROM lapwing_class_scores(model, since, until, segments, every, as_of, stage, weights)
),
spans AS (
    SELECT
        s.labels,
        s.start,
        s.class,
        lapwing_coverage(s.truth) AS label_coverage,
        lapwing_maturity(s.mature) AS label_maturity,
        min(s.score) FILTER (s.counts AND isfinite(s.score)) AS lowest,
        max(s.score) FILTER (s.counts AND isfinite(s.score)) AS highest,
        lowest < 0 OR highest > 1 AS wide,
        if(wide, lowest, 0.0) AS origin,
        if(wide, highest - lowest, 1.0) / bins AS width
    FROM scores AS s
    GROUP BY s.labels, s.start, s.class
),
binned AS (
    SELECT
        p.*,
        s.truth,
        least(floor(coalesce(lapwing_ratio(s.score - p.origin, p.width), 0)), bins - 1)::INTEGER AS bin,
        s.w
    FROM scores AS s JOIN spans AS p ON s.labels = p.labels AND s.start = p.start AND s.class = p.class
    WHERE s.counts AND isfinite(s.score)
),
summed AS (
    SELECT b.* EXCLUDE (w, wide, lowest, highest), sum(b.w) AS w, count(*) AS n
    FROM binned AS b
    GROUP BY ALL
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    s.class,
    s.truth,
    s.origin + s.bin * s.width AS bin_start,
    s.origin + (s.bin + 1) * s.width AS bin_end,
    s.w / sum(s.w) OVER (PARTITION BY s.labels, s.start, s.class, s.truth) AS value,
    s.n AS sample_count,
    s.label_coverage,
    s.label_maturity
FROM summed AS s
ORDER BY ALL;

-- name: roc_curve
-- group: classification
-- needs: classification, probabilities, truth
-- summary: True positive rate (`value`) by false positive rate, from the threshold that no score reaches, NULL, down.
-- formula: TP / (TP + FN) and FP / (FP + TN) where scores from `threshold` on count as positive
-- source: sklearn.metrics.roc_curve(drop_intermediate=False)
-- parameter points: how many thresholds at most, evenly spread over the distinct scores, default 200; NULL: each score
-- example: FROM roc_curve('churn', $window_start, $window_end)
CREATE TEMP MACRO roc_curve(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, points := 200
) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, segments, every, as_of, stage, weights)
),
curve AS (
    SELECT
        t.labels, t.start, t.class, t.score, t.n, t.label_coverage, t.label_maturity,
        lapwing_ratio(t.neg_from, t.neg_all) AS false_positive_rate,
        lapwing_ratio(t.pos_from, t.pos_all) AS true_positive_rate
    FROM lapwing_curve('ladders', points) AS t
    UNION ALL
    SELECT
        s.labels, s.start, s.class, NULL, s.n, s.label_coverage, s.label_maturity,
        lapwing_ratio(0, s.neg_all), lapwing_ratio(0, s.pos_all)
    FROM lapwing_classes('ladders') AS s
    WHERE s.n > 0
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.class,
    c.score AS threshold,
    c.false_positive_rate,
    c.true_positive_rate AS value,
    c.n AS sample_count,
    c.label_coverage,
    c.label_maturity
FROM curve AS c
ORDER BY c.labels, c.start, c.class, c.score DESC NULLS FIRST;

-- name: pr_curve
-- group: classification
-- needs: classification, probabilities, truth
-- summary: Precision (`value`) by recall, from the highest threshold down.
-- formula: TP / (TP + FP) and TP / (TP + FN) where scores from `threshold` on count as positive
-- source: sklearn.metrics.precision_recall_curve, without its last point, which no threshold makes
-- parameter points: how many thresholds at most, evenly spread over the distinct scores, default 200; NULL: each score
-- example: FROM pr_curve('churn', $window_start, $window_end)
CREATE TEMP MACRO pr_curve(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, points := 200
) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, segments, every, as_of, stage, weights)
)
SELECT
    unnest(t.labels),
    t.start AS window_start,
    lapwing_window_end(every, t.start, since, until) AS window_end,
    t.class,
    t.score AS threshold,
    lapwing_ratio(t.pos_from, t.pos_all) AS recall,
    lapwing_ratio(t.pos_from, t.pos_from + t.neg_from) AS value,
    t.n AS sample_count,
    t.label_coverage,
    t.label_maturity
FROM lapwing_curve('ladders', points) AS t
ORDER BY t.labels, t.start, t.class, t.score DESC;

-- name: threshold_table
-- group: classification
-- needs: classification, probabilities, truth
-- summary: What the classifier would do at other thresholds: F-beta (`value`), precision, recall, specificity, share
--   predicted positive, and the four counts, each for scores from `threshold` on, which is a text: a label
--   of its row.
-- formula: as of f_beta, precision_score, recall_score and specificity
-- source: sklearn.metrics at scores >= threshold
-- parameter thresholds: a list, default 0.05, 0.10, …, 0.95
-- parameter beta: how many times as much as precision recall counts; default 1, the F1 score
-- example: FROM threshold_table('churn', $window_start, $window_end, thresholds := [0.3, 0.5, 0.7])
CREATE TEMP MACRO threshold_table(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, thresholds := NULL, beta := 1
) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, segments, every, as_of, stage, weights)
),
asked AS (
    SELECT DISTINCT unnest(coalesce(thresholds::DOUBLE[], [i / 20 FOR i IN range(1, 20)])) AS threshold
),
pairs AS (
    SELECT c.*, a.threshold FROM lapwing_classes('ladders') AS c CROSS JOIN asked AS a WHERE c.n > 0
),
levels AS (
    SELECT s.key, s.score, s.pos_from, s.neg_from FROM lapwing_steps('ladders') AS s
),
counts AS (
    SELECT
        p.*,
        coalesce(s.pos_from, 0) AS tp,
        coalesce(s.neg_from, 0) AS fp,
        p.pos_all - coalesce(s.pos_from, 0) AS fn,
        p.neg_all - coalesce(s.neg_from, 0) AS tn
    FROM pairs AS p ASOF LEFT JOIN levels AS s ON p.key = s.key AND p.threshold <= s.score
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.class,
    lapwing_quantile_name(c.threshold) AS threshold,
    lapwing_ratio((1 + beta ** 2) * c.tp, (1 + beta ** 2) * c.tp + beta ** 2 * c.fn + c.fp) AS value,
    lapwing_ratio(c.tp, c.tp + c.fp) AS precision,
    lapwing_ratio(c.tp, c.tp + c.fn) AS recall,
    lapwing_ratio(c.tn, c.tn + c.fp) AS specificity,
    lapwing_ratio(c.tp + c.fp, c.pos_all + c.neg_all) AS selection_rate,
    c.tp AS true_positives,
    c.fp AS false_positives,
    c.fn AS false_negatives,
    c.tn AS true_negatives,
    c.n AS sample_count,
    c.label_coverage,
    c.label_maturity
FROM counts AS c
ORDER BY c.labels, c.start, c.class, c.threshold;

-- name: gain
-- group: classification
-- needs: classification, probabilities, truth
-- summary: Share of the rows of a class that are among those with the highest scores for it.
-- formula: weight of true rows among the share `top` of the rows / weight of all; of equal scores at the border each
--   counts by the same part
-- source: the cumulative gains chart; interval: Wilson (1927), with the border as it is
-- parameter top: which share of the rows, default 0.1
-- parameter average: of several classes: `macro` (default), `weighted` (by true rows), `none` (a row per class)
-- example: FROM gain('churn', $window_start, $window_end, top := 0.05)
CREATE TEMP MACRO gain(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, top := 0.1, average := 'macro'
) AS TABLE
WITH found AS (
    FROM lapwing_gains(model, since, until, segments, every, as_of, stage, weights, [top])
)
FROM lapwing_averaged('found', average, every, since, until, confidence, 'wilson');

-- name: lift
-- group: classification
-- needs: classification, probabilities, truth
-- summary: How many times as often as among all rows a class is met among those with the highest scores for it.
-- formula: gain / top
-- source: the lift chart; interval: that of the gain
-- parameter top: which share of the rows, default 0.1
-- parameter average: of several classes: `macro` (default), `weighted` (by true rows), `none` (a row per class)
-- example: FROM lift('churn', $window_start, $window_end, top := 0.05)
CREATE TEMP MACRO lift(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, top := 0.1, average := 'macro'
) AS TABLE
WITH found AS (
    FROM lapwing_gains(model, since, until, segments, every, as_of, stage, weights, [top])
)
SELECT g.* REPLACE (
    lapwing_ratio(g.value, top) AS value, lapwing_ratio(g.low, top) AS low, lapwing_ratio(g.high, top) AS high
)
FROM lapwing_averaged('found', average, every, since, until, confidence, 'wilson') AS g
ORDER BY ALL;

-- name: gain_curve
-- group: classification
-- needs: classification, probabilities, truth
-- summary: The gain (`value`) and the lift by the share of the rows with the highest scores.
-- formula: as of gain and lift
-- source: the cumulative gains chart
-- parameter points: how many shares, evenly spread up to 1, default 20
-- example: FROM gain_curve('churn', $window_start, $window_end)
CREATE TEMP MACRO gain_curve(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, points := 20
) AS TABLE
WITH gains AS (
    FROM lapwing_gains(model, since, until, segments, every, as_of, stage, weights, [i / points FOR i IN range(1, points + 1)])
)
SELECT
    unnest(g.labels),
    g.start AS window_start,
    lapwing_window_end(every, g.start, since, until) AS window_end,
    g.class,
    g.top,
    g.share AS value,
    lapwing_ratio(g.share, g.top) AS lift,
    g.n AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM gains AS g
ORDER BY ALL;
