-- name: fairness_by_group
-- group: fairness
-- needs: classification, prediction, positive_class, truth
-- summary: Rates of each group by `metric`: share predicted positive and share that is, accuracy, true and false
--   positive rate, and positive predictive value.
-- formula: selection_rate (TP + FP) / n, base_rate (TP + FN) / n, accuracy (TP + TN) / n, true_positive_rate
--   TP / (TP + FN), false_positive_rate FP / (FP + TN), positive_predictive_value TP / (TP + FP), weighted
-- source: fairlearn.metrics.MetricFrame; interval: Wilson (1927), for as many rows as the weighted ones tell as much as
-- parameter attribute: what tells the groups: a column or an expression
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM fairness_by_group('loans', $window_start, $window_end, attribute := inputs.sex)
CREATE TEMP MACRO fairness_by_group(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, attribute := NULL, threshold := NULL
) AS TABLE
SELECT
    unnest(r.labels),
    r.start AS window_start,
    lapwing_window_end(every, r.start, since, until) AS window_end,
    r.member,
    r.metric,
    r.share AS value,
    r.interval.low,
    r.interval.high,
    r.n AS sample_count,
    r.known / r.predictions AS label_coverage,
    lapwing_ratio(r.mature, r.dated) AS label_maturity
FROM lapwing_group_rates(model, since, until, segments, every, as_of, stage, weights, confidence, attribute, threshold) AS r
ORDER BY ALL;

-- name: demographic_parity_difference
-- group: fairness
-- needs: classification, prediction, positive_class
-- summary: How much more often one group is predicted positive than another.
-- formula: highest selection rate - lowest; rows without a group, and groups of few rows, are left out;
--   sample_count is that of the smallest group
-- source: fairlearn.metrics.demographic_parity_difference; interval: Newcombe (1998), of the intervals of both rates
-- parameter min_samples: how many rows a group needs to be compared, default 30
-- parameter attribute: what tells the groups: a column or an expression
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM demographic_parity_difference('loans', $window_start, $window_end, attribute := inputs.sex)
CREATE TEMP MACRO demographic_parity_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, min_samples := 30, attribute := NULL, threshold := NULL
) AS TABLE
FROM lapwing_group_difference(
    model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold,
    ['selection_rate']
);

-- name: demographic_parity_ratio
-- group: fairness
-- needs: classification, prediction, positive_class
-- summary: How often the group that is predicted positive least is so, as a share of the most; under 0.8 is the four
--   fifths rule's sign of adverse impact.
-- formula: lowest selection rate / highest; rows without a group, and groups of few rows, are left out;
--   sample_count is that of the smallest group
-- source: fairlearn.metrics.demographic_parity_ratio; interval: Katz et al. (1978), on a logarithmic scale
-- parameter min_samples: how many rows a group needs to be compared, default 30
-- parameter attribute: what tells the groups: a column or an expression
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM demographic_parity_ratio('loans', $window_start, $window_end, attribute := inputs.sex)
CREATE TEMP MACRO demographic_parity_ratio(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, min_samples := 30, attribute := NULL, threshold := NULL
) AS TABLE
WITH compared AS (
    SELECT
        c.*,
        lapwing_two_sided_z(confidence) * sqrt(
            lapwing_ratio(c.top.variance, c.top.share ** 2) + lapwing_ratio(c.bottom.variance, c.bottom.share ** 2)
        ) AS reach
    FROM lapwing_group_comparison(
        model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold,
        ['selection_rate']
    ) AS c
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.ratio AS value,
    c.ratio * exp(-c.reach) AS low,
    lapwing_at_most(1, c.ratio * exp(c.reach)) AS high,
    c.sample_count,
    c.label_coverage,
    c.label_maturity
FROM compared AS c
ORDER BY ALL;

-- name: equalized_odds_difference
-- group: fairness
-- needs: classification, prediction, positive_class, truth
-- summary: How much more often one group is predicted positive than another, among those who are positive or among
--   those who are not, whichever is more.
-- formula: the larger of highest - lowest true positive rate and highest - lowest false positive rate; rows without a group, and groups of few rows, are left out;
--   sample_count is that of the smallest group
-- source: fairlearn.metrics.equalized_odds_difference; interval: Newcombe (1998), of the intervals of both rates
-- parameter min_samples: how many rows a group needs to be compared, default 30
-- parameter attribute: what tells the groups: a column or an expression
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM equalized_odds_difference('loans', $window_start, $window_end, attribute := inputs.sex)
CREATE TEMP MACRO equalized_odds_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, min_samples := 30, attribute := NULL, threshold := NULL
) AS TABLE
FROM lapwing_group_difference(
    model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold,
    ['true_positive_rate', 'false_positive_rate']
);

-- name: equal_opportunity_difference
-- group: fairness
-- needs: classification, prediction, positive_class, truth
-- summary: How much more often one group is found than another, among those who are positive.
-- formula: highest true positive rate - lowest; rows without a group, and groups of few rows, are left out;
--   sample_count is that of the smallest group
-- source: fairlearn.metrics.equal_opportunity_difference; interval: Newcombe (1998), of the intervals of both rates
-- parameter min_samples: how many rows a group needs to be compared, default 30
-- parameter attribute: what tells the groups: a column or an expression
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM equal_opportunity_difference('loans', $window_start, $window_end, attribute := inputs.sex)
CREATE TEMP MACRO equal_opportunity_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, min_samples := 30, attribute := NULL, threshold := NULL
) AS TABLE
FROM lapwing_group_difference(
    model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold,
    ['true_positive_rate']
);

-- name: predictive_parity_difference
-- group: fairness
-- needs: classification, prediction, positive_class, truth
-- summary: How much more often a positive prediction is right for one group than for another.
-- formula: highest positive predictive value - lowest; rows without a group, and groups of few rows, are left out;
--   sample_count is that of the smallest group
-- source: Chouldechova (2017); interval: Newcombe (1998), of the intervals of both rates
-- parameter min_samples: how many rows a group needs to be compared, default 30
-- parameter attribute: what tells the groups: a column or an expression
-- parameter threshold: scores of the positive class from here on count as predictions of it; the default is what
--   was predicted
-- example: FROM predictive_parity_difference('loans', $window_start, $window_end, attribute := inputs.sex)
CREATE TEMP MACRO predictive_parity_difference(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, min_samples := 30, attribute := NULL, threshold := NULL
) AS TABLE
FROM lapwing_group_difference(
    model, since, until, segments, every, as_of, stage, weights, confidence, min_samples, attribute, threshold,
    ['positive_predictive_value']
);
