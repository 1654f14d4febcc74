-- How far the values of a span are from those of a reference: field by field, from counts in bins that do not move
-- (profiles), or from the values themselves; and what that amounts to.

-- name: psi
-- group: drift
-- needs:
-- summary: Population stability index of each field, over bins that do not move. Drift from 0.1 on, large from
--   0.25 on. `p_value` is that of the chi-squared test on the same bins, `effect_size` Cramér's V as if both
--   sides were of one size.
-- formula: sum((p - q) * ln(p / q)) over bins, p and q the shares of the reference and of the span, none less
--   than 1e-4
-- source: Siddiqi, Credit Risk Scorecards (2006); threshold 0.1 as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter bins: ranges that numbers are put together in; NULL: all that there are
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM psi('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO psi(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_number(lapwing_psi(c.p, c.q)) AS value,
    c.tested.p_value AS p_value,
    c.tested.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS c
ORDER BY c.part, c.field_name, c.start;

-- name: js_distance
-- group: drift
-- needs:
-- summary: Jensen-Shannon distance of each field, over bins that do not move: 0 for equal shares, 0.83 for none
--   in common. Drift from 0.1 on. `p_value` is that of the chi-squared test on the same bins, `effect_size`
--   Cramér's V as if both sides were of one size.
-- formula: sqrt((KL(p, m) + KL(q, m)) / 2), m = (p + q) / 2, natural logarithm, empty bins as they are
-- source: scipy.spatial.distance.jensenshannon; threshold 0.1 as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter bins: ranges that numbers are put together in; NULL: all that there are
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM js_distance('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO js_distance(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_number(lapwing_js_distance(c.p, c.q)) AS value,
    c.tested.p_value AS p_value,
    c.tested.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS c
ORDER BY c.part, c.field_name, c.start;

-- name: kl_divergence
-- group: drift
-- needs:
-- summary: Kullback-Leibler divergence of each field, over bins that do not move: what it costs to take the
--   span for the reference. Drift from 0.1 on. `p_value` is that of the chi-squared test on the same bins,
--   `effect_size` Cramér's V as if both sides were of one size.
-- formula: sum(p * ln(p / q)), p and q at least 1e-4 and made to add up to 1
-- source: scipy.stats.entropy(p, q); threshold 0.1 as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter bins: ranges that numbers are put together in; NULL: all that there are
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM kl_divergence('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO kl_divergence(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_number(lapwing_kl_divergence(c.p, c.q)) AS value,
    c.tested.p_value AS p_value,
    c.tested.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS c
ORDER BY c.part, c.field_name, c.start;

-- name: hellinger
-- group: drift
-- needs:
-- summary: Hellinger distance of each field, over bins that do not move: 0 for equal shares, 1 for none in
--   common. Drift from 0.1 on. `p_value` is that of the chi-squared test on the same bins, `effect_size`
--   Cramér's V as if both sides were of one size.
-- formula: sqrt(1 - sum(sqrt(p * q)))
-- source: Hellinger (1909); threshold 0.1 as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter bins: ranges that numbers are put together in; NULL: all that there are
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM hellinger('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO hellinger(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_number(lapwing_hellinger(c.p, c.q)) AS value,
    c.tested.p_value AS p_value,
    c.tested.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS c
ORDER BY c.part, c.field_name, c.start;

-- name: total_variation
-- group: drift
-- needs:
-- summary: Total variation distance of each field, over bins that do not move: the share of rows that are in
--   other bins than they were. `p_value` is that of the chi-squared test on the same bins, `effect_size`
--   Cramér's V as if both sides were of one size.
-- formula: sum(|p - q|) / 2
-- source: Evidently tests it by permutation, as total_variation_rows does
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter bins: ranges that numbers are put together in; NULL: all that there are
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM total_variation('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO total_variation(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_number(lapwing_total_variation(c.p, c.q)) AS value,
    c.tested.p_value AS p_value,
    c.tested.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS c
ORDER BY c.part, c.field_name, c.start;

-- name: chi2
-- group: drift
-- needs:
-- summary: Pearson's chi-squared test of each field, over bins that do not move: `value` is the probability
--   that chance alone makes both sides so different. Drift below 0.05; mind `effect_size`, Cramér's V as if
--   both sides were of one size, because with many rows any difference is significant.
-- formula: sum((n - e)^2 / e) over both sides and all bins, e = row total * bin total / total; one degree of
--   freedom less than bins
-- source: scipy.stats.chi2_contingency; threshold 0.05 as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter bins: ranges that numbers are put together in; NULL: all that there are
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM chi2('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO chi2(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.tested.p_value AS value,
    c.tested.statistic AS statistic,
    c.tested.p_value AS p_value,
    c.tested.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS c
ORDER BY c.part, c.field_name, c.start;

-- name: g_test
-- group: drift
-- needs:
-- summary: Likelihood-ratio test of each field, over bins that do not move: `value` is the probability that
--   chance alone makes both sides so different. Drift below 0.1; mind `effect_size`, as in chi2.
-- formula: 2 * sum(n * ln(n / e)), e and degrees of freedom as in chi2
-- source: scipy.stats.chi2_contingency(lambda_='log-likelihood'); threshold 0.1 as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter bins: ranges that numbers are put together in; NULL: all that there are
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM g_test('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO g_test(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_g_test(c.reference_counts, c.counts).p_value AS value,
    lapwing_g_test(c.reference_counts, c.counts).statistic AS statistic,
    lapwing_g_test(c.reference_counts, c.counts).p_value AS p_value,
    c.tested.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS c
ORDER BY c.part, c.field_name, c.start;

-- name: ks_binned
-- group: drift
-- needs:
-- summary: Kolmogorov-Smirnov test of each number, on all its bins in their order: `value` is the probability.
--   Only edges of bins are looked at, so the distance is at most that of the values, by no more than the share
--   of one bin, and the test errs on the side of silence. Missing values have no place in the order; how many
--   there are is compared by itself, and the probability is that of the clearer of both, doubled. `statistic`
--   and `effect_size` are the larger of both distances. Drift from 0.05 down.
-- formula: D = max |P - Q| over edges, P and Q cumulative shares of the numbers; p = K(D * sqrt(n * m / (n +
--   m))), K Kolmogorov's limit; chi2 of null, infinite and other values beside it
-- source: scipy.special.kolmogorov, scipy.stats.chi2_contingency; threshold 0.05 as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM ks_binned('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO ks_binned(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_ks_counts(c.reference_counts, c.counts).p_value AS value,
    lapwing_ks_counts(c.reference_counts, c.counts).statistic AS statistic,
    lapwing_ks_counts(c.reference_counts, c.counts).p_value AS p_value,
    lapwing_ks_counts(c.reference_counts, c.counts).effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_counted(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, nulls,
    min_rows
) AS c
WHERE c.kind <> 'category'
ORDER BY ALL;

-- name: wasserstein_binned
-- group: drift
-- needs:
-- summary: How far each number's values moved on average, in standard deviations of the reference, from bins
--   that do not move. Where all values moved one way that is the way between the means, which is exact; what
--   moved against it is taken from the bins, with values spread evenly within each. A value that went missing
--   counts as moved by one standard deviation. Drift from 0.1 on. `p_value` and `effect_size` are those of
--   ks_binned.
-- formula: (|mean - reference mean| + 2 * min(U, D)) / max(std of the reference, 0.001) + total variation
--   between missing, infinite and other values; U and D are the areas where the cumulative shares of one side
--   are above those of the other, and below
-- source: scipy.stats.wasserstein_distance; threshold 0.1 and floor as in Evidently
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM wasserstein_binned('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO wasserstein_binned(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_number(lapwing_wasserstein_counts(
        c.reference_counts, c.counts, c.edges, c.reference_moments, c.moments
    )) AS value,
    lapwing_ks_counts(c.reference_counts, c.counts).p_value AS p_value,
    lapwing_ks_counts(c.reference_counts, c.counts).effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    coalesce(c.reason, CASE WHEN value IS NULL THEN 'the values are too large' END) AS reason
FROM lapwing_counted(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, nulls,
    min_rows
) AS c
WHERE c.kind <> 'category'
ORDER BY ALL;

-- name: mean_shift
-- group: drift
-- needs:
-- summary: How far each number's mean moved, in pooled standard deviations, with its sign; exact, because
--   profiles keep sums. `p_value` is that of Welch's test, `effect_size` the value without its sign (Cohen's d:
--   0.2 is small, 0.5 medium, 0.8 large).
-- formula: (mean - reference mean) / sqrt((var + reference var) / 2); t = (mean - reference mean) / sqrt(var /
--   n + reference var / m)
-- source: scipy.stats.ttest_ind(equal_var=False); Cohen (1988)
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all unless told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM mean_shift('churn', $window_start, $window_end, reference := 'train')
CREATE TEMP MACRO mean_shift(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', nulls := true, min_rows := 100
) AS TABLE
SELECT
    c.part AS segment,
    c.field_name AS field,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_mean_shift(c.reference_moments, c.moments, c.reference_counts, c.counts).value AS value,
    lapwing_mean_shift(c.reference_moments, c.moments, c.reference_counts, c.counts).p_value AS p_value,
    abs(lapwing_mean_shift(c.reference_moments, c.moments, c.reference_counts, c.counts).value) AS effect_size,
    c.sample_count,
    c.reference_count,
    coalesce(c.reason, CASE WHEN value IS NULL THEN 'the values do not vary, or are too large' END) AS reason
FROM lapwing_counted(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, nulls,
    min_rows
) AS c
WHERE c.kind <> 'category'
ORDER BY ALL;

-- name: ks_test
-- group: drift
-- needs:
-- summary: Kolmogorov-Smirnov test of two samples of a number: sensitive to any difference, most in the middle.
--   `value` is the probability that chance alone makes both sides so different. Drift from 0.05 down.
--   `effect_size` is the Kolmogorov-Smirnov statistic.
-- formula: D = max |P - Q|, cumulative shares; counted out up to 1 000 values a side, else Kolmogorov's limit
-- source: scipy.stats.ks_2samp; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM ks_test('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO ks_test(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 10000, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'kolmogorov_smirnov', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: mann_whitney
-- group: drift
-- needs:
-- summary: Mann-Whitney test of two samples of a number: whether one side tends to larger values. `value` is
--   the probability that chance alone makes both sides so different. Drift below 0.05. `effect_size` is the
--   Kolmogorov-Smirnov statistic.
-- formula: U, the pairs in which the reference is larger; ties count half; normal limit with correction
-- source: scipy.stats.mannwhitneyu; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM mann_whitney('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO mann_whitney(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 10000, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'mann_whitney', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: epps_singleton
-- group: drift
-- needs:
-- summary: Epps-Singleton test of two samples of a number, by their characteristic functions; for discrete
--   values, too. `value` is the probability that chance alone makes both sides so different. Drift below 0.05.
--   `effect_size` is the Kolmogorov-Smirnov statistic.
-- formula: W at 0.4 and 0.8 of the semi-interquartile range; chi-squared with 4 degrees of freedom
-- source: scipy.stats.epps_singleton_2samp; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM epps_singleton('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO epps_singleton(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 10000, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'epps_singleton', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: anderson_darling
-- group: drift
-- needs:
-- summary: Anderson-Darling test of two samples of a number: more sensitive in the tails than ks_test. `value`
--   is the probability that chance alone makes both sides so different. It is told between 0.001 and 0.25 only.
--   Drift below 0.1. `effect_size` is the Kolmogorov-Smirnov statistic.
-- formula: midrank version for k samples
-- source: scipy.stats.anderson_ksamp; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM anderson_darling('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO anderson_darling(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 10000, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'anderson_darling', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: cramer_von_mises
-- group: drift
-- needs:
-- summary: Cramér-von Mises test of two samples of a number: the whole of the distance between cumulative
--   shares. `value` is the probability that chance alone makes both sides so different. Drift from 0.1 down.
--   `effect_size` is the Kolmogorov-Smirnov statistic.
-- formula: T of Anderson (1962)
-- source: scipy.stats.cramervonmises_2samp; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM cramer_von_mises('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO cramer_von_mises(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 10000, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'cramer_von_mises', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: empirical_mmd
-- group: drift
-- needs:
-- summary: Maximum mean discrepancy of two samples of a number, with a Gaussian kernel, by permutation. `value`
--   is the probability that chance alone makes both sides so different. At most 500 values a side are looked
--   at. Drift below 0.1. `effect_size` is the Kolmogorov-Smirnov statistic.
-- formula: mean k(x, x') + mean k(y, y') - 2 mean k(x, y), k(a, b) = exp(-(a - b)^2 / median squared distance
--   within the reference); 499 permutations with a fixed seed
-- source: Gretton et al. (2012); threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM empirical_mmd('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO empirical_mmd(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 500, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'mmd', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: t_test
-- group: drift
-- needs:
-- summary: Student's test whether the means of two samples of a number are equal, variances taken as equal,
--   over all rows. `value` is the probability that chance alone makes both sides so different. Drift below
--   0.05. `effect_size` is Cohen's d.
-- formula: t = (mean - reference mean) / (s * sqrt(1 / n + 1 / m)), s pooled; n + m - 2 degrees of freedom
-- source: scipy.stats.ttest_ind; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM t_test('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO t_test(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_student(c.seen, c.now).p_value AS value,
    lapwing_student(c.seen, c.now).statistic AS statistic,
    lapwing_student(c.seen, c.now).p_value AS p_value,
    lapwing_student(c.seen, c.now).effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    CASE
        WHEN c.reason IS NULL AND lapwing_student(c.seen, c.now).p_value IS NULL THEN 'the values do not vary'
        ELSE c.reason
    END AS reason
FROM lapwing_compared_rows(
    NULL, 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, 1, false, min_rows
) AS c
ORDER BY ALL;

-- name: wasserstein
-- group: drift
-- needs:
-- summary: How far a number's values moved on average, in standard deviations of the reference. Drift from 0.1
--   on. `effect_size` is the Kolmogorov-Smirnov statistic.
-- formula: integral |P - Q| / max(std of the reference, 0.001)
-- source: scipy.stats.wasserstein_distance, numpy.std; threshold and floor as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM wasserstein('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO wasserstein(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 10000, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.statistic AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'wasserstein', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: energy_distance
-- group: drift
-- needs:
-- summary: Energy distance of two samples of a number, in its own unit. Drift above 0.1. `effect_size` is the
--   Kolmogorov-Smirnov statistic.
-- formula: sqrt(2 * integral (P - Q)^2)
-- source: scipy.stats.energy_distance; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM energy_distance('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO energy_distance(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    samples := 10000, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.statistic AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'energy', 'number', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, false, min_rows
) AS c
ORDER BY ALL;

-- name: psi_rows
-- group: drift
-- needs:
-- summary: Population stability index of a field, from its values. Drift from 0.1 on. Numbers are binned, see
--   `binning`, and missing ones left out; texts and booleans have a bin per value. `effect_size` is Cramér's V
--   as if both sides were of one size.
-- formula: sum((p - q) * ln(p / q)), no share less than 1e-4; with `evidently`, empty bins as 1e-4, or as a
--   millionth of the least share where that is less than 1e-4
-- source: Evidently's psi
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter binning: `reference` for bins at the deciles of the reference, `evidently` for Sturges' rule over
--   both sides where the reference has more than 20 values, else a bin per value
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter nulls: whether missing values are a category of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM psi_rows('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO psi_rows(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    binning := 'reference', samples := 10000, nulls := true, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.statistic AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'psi', 'any', binning, model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, nulls, min_rows
) AS c
ORDER BY ALL;

-- name: js_distance_rows
-- group: drift
-- needs:
-- summary: Jensen-Shannon distance of a field, from its values. Drift from 0.1 on. Numbers are binned, see
--   `binning`, and missing ones left out; texts and booleans have a bin per value. `effect_size` is Cramér's V
--   as if both sides were of one size.
-- formula: as js_distance
-- source: scipy.spatial.distance.jensenshannon; Evidently's jensenshannon
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter binning: `reference` for bins at the deciles of the reference, `evidently` for Sturges' rule over
--   both sides where the reference has more than 20 values, else a bin per value
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter nulls: whether missing values are a category of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM js_distance_rows('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO js_distance_rows(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    binning := 'reference', samples := 10000, nulls := true, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.statistic AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'js_distance', 'any', binning, model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, nulls, min_rows
) AS c
ORDER BY ALL;

-- name: kl_divergence_rows
-- group: drift
-- needs:
-- summary: Kullback-Leibler divergence of a field, from its values. Drift from 0.1 on. Numbers are binned, see
--   `binning`, and missing ones left out; texts and booleans have a bin per value. `effect_size` is Cramér's V
--   as if both sides were of one size.
-- formula: sum(p * ln(p / q)), filled as in psi_rows, then made to add up to 1
-- source: scipy.stats.entropy; Evidently's kl_div
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter binning: `reference` for bins at the deciles of the reference, `evidently` for Sturges' rule over
--   both sides where the reference has more than 20 values, else a bin per value
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter nulls: whether missing values are a category of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM kl_divergence_rows('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO kl_divergence_rows(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    binning := 'reference', samples := 10000, nulls := true, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.statistic AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'kl_divergence', 'any', binning, model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, nulls, min_rows
) AS c
ORDER BY ALL;

-- name: hellinger_rows
-- group: drift
-- needs:
-- summary: Hellinger distance of a field, from its values. Drift from 0.1 on. Numbers are binned, see
--   `binning`, and missing ones left out; texts and booleans have a bin per value. `effect_size` is Cramér's V
--   as if both sides were of one size.
-- formula: sqrt(1 - sum(sqrt(p * q))); with `evidently`, edges are made of the different values
-- source: Evidently's hellinger
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter binning: `reference` for bins at the deciles of the reference, `evidently` for Sturges' rule over
--   both sides where the reference has more than 20 values, else a bin per value
-- parameter samples: most values of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter nulls: whether missing values are a category of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM hellinger_rows('churn', $window_start, $window_end, inputs.age, reference := 'train')
CREATE TEMP MACRO hellinger_rows(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    binning := 'reference', samples := 10000, nulls := true, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.statistic AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    len(c.now.sample) AS sampled,
    c.reason
FROM lapwing_compared_rows(
    'hellinger', 'any', binning, model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, samples, nulls, min_rows
) AS c
ORDER BY ALL;

-- name: chi2_rows
-- group: drift
-- needs:
-- summary: Pearson's chi-squared test of a category, from its values. `value` is the probability that chance
--   alone makes both sides so different. Drift below 0.05. `effect_size` is Cramér's V as if both sides were of
--   one size.
-- formula: as chi2: both sides are samples; with `evidently`, the shares of the reference are taken for the
--   truth, and a value that it has not is drift for certain
-- source: scipy.stats.chi2_contingency, scipy.stats.chisquare; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter binning: `reference` for bins at the deciles of the reference, `evidently` for Sturges' rule over
--   both sides where the reference has more than 20 values, else a bin per value
-- parameter nulls: whether missing values are a category of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM chi2_rows('churn', $window_start, $window_end, inputs.plan, reference := 'train')
CREATE TEMP MACRO chi2_rows(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    binning := 'reference', nulls := true, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_rows(
    'chi2', 'category', binning, model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, 1, nulls, min_rows
) AS c
ORDER BY ALL;

-- name: g_test_rows
-- group: drift
-- needs:
-- summary: Likelihood-ratio test of a category, from its values. `value` is the probability that chance alone
--   makes both sides so different. Drift below 0.1. `effect_size` is Cramér's V as if both sides were of one
--   size.
-- formula: as g_test; with `evidently` as in chi2_rows
-- source: scipy.stats.chi2_contingency, scipy.stats.power_divergence; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter binning: `reference` for bins at the deciles of the reference, `evidently` for Sturges' rule over
--   both sides where the reference has more than 20 values, else a bin per value
-- parameter nulls: whether missing values are a category of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM g_test_rows('churn', $window_start, $window_end, inputs.plan, reference := 'train')
CREATE TEMP MACRO g_test_rows(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    binning := 'reference', nulls := true, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_rows(
    'g_test', 'category', binning, model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, 1, nulls, min_rows
) AS c
ORDER BY ALL;

-- name: total_variation_rows
-- group: drift
-- needs:
-- summary: Total variation distance of a category, tested by permutation. `value` is the probability that
--   chance alone makes both sides so different. Drift below 0.1. `statistic` is the distance: the share of rows
--   that have another value than they had. `effect_size` is Cramér's V as if both sides were of one size.
-- formula: sum(|p - q|) / 2; 499 permutations with a fixed seed
-- source: scipy.stats.permutation_test; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter nulls: whether missing values are a category of their own
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM total_variation_rows('churn', $window_start, $window_end, inputs.plan, reference := 'train')
CREATE TEMP MACRO total_variation_rows(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    nulls := true, min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_rows(
    'total_variation', 'category', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, 1, nulls, min_rows
) AS c
ORDER BY ALL;

-- name: z_test
-- group: drift
-- needs:
-- summary: Test whether two shares of one value among two are equal. `value` is the probability that chance
--   alone makes both sides so different. Drift below 0.05. `effect_size` is Cramér's V as if both sides were of
--   one size.
-- formula: z = (p - q) / sqrt(s * (1 - s) * (1 / n + 1 / m)), s the share in both; two-sided
-- source: statsmodels' proportions_ztest; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM z_test('churn', $window_start, $window_end, output.value, reference := 'train')
CREATE TEMP MACRO z_test(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    min_rows := 10, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_rows(
    'proportions', 'category', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, 1, false, min_rows
) AS c
ORDER BY ALL;

-- name: fisher_exact
-- group: drift
-- needs:
-- summary: Fisher's exact test of two shares of one value among two, for few rows; sides need not be of one
--   size. `value` is the probability that chance alone makes both sides so different. Drift below 0.1.
--   `statistic` is the odds ratio. `effect_size` is Cramér's V as if both sides were of one size.
-- formula: hypergeometric, two-sided
-- source: scipy.stats.fisher_exact; threshold as in Evidently
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM fisher_exact('churn', $window_start, $window_end, output.value, reference := 'train')
CREATE TEMP MACRO fisher_exact(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    min_rows := 1, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_rows(
    'fisher_exact', 'category', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, 1, false, min_rows
) AS c
ORDER BY ALL;

-- name: barnard_exact
-- group: drift
-- needs:
-- summary: Barnard's exact test of two shares of one value among two, for up to 200 rows of both sides: sharper
--   than fisher_exact. `value` is the probability that chance alone makes both sides so different. Drift below
--   0.05. `effect_size` is Cramér's V as if both sides were of one size.
-- formula: Wald statistic, pooled, two-sided
-- source: scipy.stats.barnard_exact
-- parameter field: what is compared: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM barnard_exact('churn', $window_start, $window_end, output.value, reference := 'train')
CREATE TEMP MACRO barnard_exact(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    min_rows := 1, reference := NULL
) AS TABLE
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.p_value AS value,
    c.told.statistic AS statistic,
    c.told.p_value AS p_value,
    c.told.effect_size AS effect_size,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM lapwing_compared_rows(
    'barnard', 'category', 'reference', model, since, until, field, reference,
    reference_since, reference_until, segments, every, as_of, stage, 1, false, min_rows
) AS c
ORDER BY ALL;

-- name: event_delta
-- group: drift
-- needs: fields
-- summary: What is different about some predictions of a span: the shares of each field's values among these and
--   among the rest of the span, the most different fields first.
-- formula: Jensen-Shannon distance as js_distance. Numbers are put together at the quantiles of both sides, or
--   have a bin per value where there are few; of texts the most frequent have bins, and the others one; so have
--   missing values. `by_chance` is about the distance that two such samples of the same rows have,
--   sqrt((k - 1) * (1 / n + 1 / m) / 8) with k bins
-- source: scipy.spatial.distance.jensenshannon over the same counts; by_chance: the mean of chi-squared, to which
--   eight times the divergence comes near
-- parameter selected: which predictions: a condition over their columns, `inputs.plan = 'pro' AND time >= …`
-- parameter fields: names of fields, as inputs.age; if NULL, all of them, version, environment, service, variant,
--   upstream, error_type and duration_ms
-- parameter bins: ranges that numbers are put together in
-- parameter top: values of a field that can have bins of their own
-- parameter samples: most rows of a side that are looked at: those whose ids have the least hashes, so that
--   the same are drawn each time
-- parameter min_rows: rows that each side must have, else `value` is NULL and `reason` says so
-- example: FROM event_delta('churn', $window_start, $window_end, inputs.plan = 'pro')
CREATE TEMP MACRO event_delta(
    model, since, until, selected, as_of := NULL, stage := 'production', fields := NULL, bins := 10, top := 20,
    samples := 10000, min_rows := 10
) AS TABLE
WITH marked AS (
    SELECT
        coalesce((selected)::BOOLEAN, false) AS is_selected,
        hash(prediction_id, time) AS draw,
        duration_ms AS "number:duration_ms",
        version AS "text:version",
        environment AS "text:environment",
        service AS "text:service",
        variant AS "text:variant",
        upstream AS "text:upstream",
        error_type AS "text:error_type",
        COLUMNS('^(number|text):')
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sides AS (
    SELECT
        count(*) FILTER (m.is_selected) AS sample_count,
        count(*) FILTER (NOT m.is_selected) AS reference_count
    FROM marked AS m
),
chosen AS MATERIALIZED (
    SELECT
        m.is_selected,
        COLUMNS(lambda name: lapwing_chosen('number:', name, fields)),
        COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM marked AS m
    CROSS JOIN sides AS s
    WHERE m.draw::DOUBLE
        <= samples::DOUBLE / CASE WHEN m.is_selected THEN s.sample_count ELSE s.reference_count END * pow(2.0, 64)
),
numbers AS (
    SELECT u.name, u.is_selected, lapwing_measure(u.x) AS x
    FROM (SELECT c.is_selected, COLUMNS('^number:') FROM chosen AS c) AS c
        UNPIVOT INCLUDE NULLS (x FOR name IN (COLUMNS('^number:'))) AS u
    WHERE u.name <> 'number:'
),
ranges AS (
    SELECT
        n.name,
        count(DISTINCT n.x) > top AS is_ranged,
        list_sort(list_distinct(
            quantile_disc(n.x, list_transform(range(1, bins), lambda place: place / bins))
        )) AS edges
    FROM numbers AS n
    GROUP BY n.name
),
texts AS (
    SELECT u.name, u.is_selected, u.word, count(*) AS n
    FROM (SELECT c.is_selected, COLUMNS('^text:') FROM chosen AS c) AS c
        UNPIVOT INCLUDE NULLS (word FOR name IN (COLUMNS('^text:'))) AS u
    WHERE u.name <> 'text:'
    GROUP BY u.name, u.is_selected, u.word
),
ranked AS (
    SELECT
        t.name, t.word,
        row_number() OVER (PARTITION BY t.name, t.word IS NULL ORDER BY sum(t.n) DESC, t.word) AS place
    FROM texts AS t
    GROUP BY t.name, t.word
),
cells AS (
    SELECT
        n.name,
        n.is_selected,
        CASE
            WHEN n.x IS NULL THEN 'missing'
            WHEN r.is_ranged THEN 'range'
            ELSE 'value'
        END AS kind,
        CASE WHEN r.is_ranged THEN len(list_filter(r.edges, lambda edge: edge <= n.x)) ELSE n.x END AS place,
        CASE WHEN r.is_ranged THEN NULL ELSE lapwing_word(n.x) END AS word,
        count(*) AS n
    FROM numbers AS n JOIN ranges AS r ON n.name = r.name
    GROUP BY ALL
    UNION ALL BY NAME
    SELECT
        t.name,
        t.is_selected,
        CASE WHEN t.word IS NULL THEN 'missing' WHEN k.place > top THEN 'other' ELSE 'value' END AS kind,
        CASE WHEN t.word IS NOT NULL AND k.place <= top THEN k.place END AS place,
        CASE WHEN k.place <= top THEN t.word END AS word,
        sum(t.n) AS n
    FROM texts AS t JOIN ranked AS k ON t.name = k.name AND t.word IS NOT DISTINCT FROM k.word
    GROUP BY ALL
),
counted AS (
    SELECT
        c.name, c.kind, c.place, c.word,
        coalesce(sum(c.n) FILTER (NOT c.is_selected), 0)::BIGINT AS seen,
        coalesce(sum(c.n) FILTER (c.is_selected), 0)::BIGINT AS now
    FROM cells AS c
    GROUP BY c.name, c.kind, c.place, c.word
),
told AS (
    SELECT
        c.name,
        list(c.kind ORDER BY c.kind = 'missing', c.kind = 'other', c.place) AS kinds,
        list(
            CASE WHEN c.kind = 'range' THEN
                CASE
                    WHEN c.place = 0 THEN 'below ' || format('{:.5g}', r.edges[1])
                    WHEN c.place = len(r.edges) THEN 'from ' || format('{:.5g}', r.edges[c.place::BIGINT])
                    ELSE format('{:.5g} to {:.5g}', r.edges[c.place::BIGINT], r.edges[c.place::BIGINT + 1])
                END
            ELSE c.word END
            ORDER BY c.kind = 'missing', c.kind = 'other', c.place
        ) AS labels,
        list(c.seen ORDER BY c.kind = 'missing', c.kind = 'other', c.place) AS seen,
        list(c.now ORDER BY c.kind = 'missing', c.kind = 'other', c.place) AS now,
        bool_and(c.kind = 'missing') AS is_empty
    FROM counted AS c LEFT JOIN ranges AS r ON c.name = r.name
    GROUP BY c.name
)
SELECT
    lapwing_field(t.name) AS field,
    CASE
        WHEN least(s.sample_count, s.reference_count) >= greatest(min_rows, 1)
        THEN lapwing_number(lapwing_js_distance(lapwing_shares(t.seen), lapwing_shares(t.now)))
    END AS value,
    CASE
        WHEN least(s.sample_count, s.reference_count) >= greatest(min_rows, 1)
        THEN sqrt((len(t.kinds) - 1) * (1 / list_sum(t.now) + 1 / list_sum(t.seen)) / 8)
    END AS by_chance,
    s.sample_count,
    s.reference_count,
    list_sum(t.now)::BIGINT AS sampled,
    list_sum(t.seen)::BIGINT AS reference_sampled,
    t.kinds,
    t.labels,
    lapwing_shares(t.now) AS shares,
    lapwing_shares(t.seen) AS reference_shares,
    CASE
        WHEN s.sample_count < greatest(min_rows, 1) THEN 'fewer than ' || greatest(min_rows, 1) || ' rows are selected'
        WHEN s.reference_count < greatest(min_rows, 1) THEN 'fewer than ' || greatest(min_rows, 1) || ' rows are not'
    END AS reason
FROM told AS t CROSS JOIN sides AS s
WHERE NOT t.is_empty
ORDER BY value DESC NULLS LAST, field;

-- name: one_sample_t
-- group: drift
-- needs:
-- summary: Student's test whether the mean of a number is what it ought to be; no reference is needed. `value`
--   is the probability that chance alone brings it so far from there. Drift below 0.05. `effect_size` is the
--   way in standard deviations.
-- formula: t = (mean - expected) / (s / sqrt(n)), n - 1 degrees of freedom, two-sided
-- source: scipy.stats.ttest_1samp
-- parameter field: a number: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter expected: the mean that it ought to have
-- parameter min_rows: rows that there must be, else `value` is NULL and `reason` says so
-- example: FROM one_sample_t('churn', $window_start, $window_end, inputs.age, 41.5)
CREATE TEMP MACRO one_sample_t(
    model, since, until, field, expected, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', min_rows := 10
) AS TABLE
SELECT
    unnest(o.labels),
    o.start AS window_start,
    lapwing_window_end(every, o.start, since, until) AS window_end,
    lapwing_t_p(o.way / o.deviation * sqrt(o.sample_count), o.sample_count - 1) AS value,
    lapwing_number(o.way / o.deviation * sqrt(o.sample_count)) AS statistic,
    value AS p_value,
    lapwing_number(abs(o.way) / o.deviation) AS effect_size,
    o.sample_count,
    coalesce(o.reason, CASE WHEN value IS NULL THEN 'nothing varies' END) AS reason
FROM lapwing_one_side(
    model, since, until, lapwing_measure(field), expected, segments, every, as_of, stage, min_rows
) AS o
ORDER BY ALL;

-- name: one_sample_z
-- group: drift
-- needs:
-- summary: Test whether the mean of a number is what it ought to be, where its standard deviation is known; no
--   reference is needed. `value` is the probability that chance alone brings it so far from there. Drift below
--   0.05. `effect_size` is the way in standard deviations.
-- formula: z = (mean - expected) / (deviation / sqrt(n)), two-sided
-- source: scipy.stats.norm
-- parameter field: a number: a field, `inputs.age`, or any expression over a prediction's columns
-- parameter expected: the mean that it ought to have
-- parameter deviation: its standard deviation
-- parameter min_rows: rows that there must be, else `value` is NULL and `reason` says so
-- example: FROM one_sample_z('churn', $window_start, $window_end, inputs.age, 41.5, 12.0)
CREATE TEMP MACRO one_sample_z(
    model, since, until, field, expected, deviation, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', min_rows := 10
) AS TABLE
SELECT
    unnest(o.labels),
    o.start AS window_start,
    lapwing_window_end(every, o.start, since, until) AS window_end,
    lapwing_normal_p(o.way / nullif(deviation::DOUBLE, 0) * sqrt(o.sample_count)) AS value,
    lapwing_number(o.way / nullif(deviation::DOUBLE, 0) * sqrt(o.sample_count)) AS statistic,
    value AS p_value,
    lapwing_number(abs(o.way) / nullif(deviation::DOUBLE, 0)) AS effect_size,
    o.sample_count,
    coalesce(o.reason, CASE WHEN value IS NULL THEN 'nothing varies' END) AS reason
FROM lapwing_one_side(
    model, since, until, lapwing_measure(field), expected, segments, every, as_of, stage, min_rows
) AS o
ORDER BY ALL;

-- name: one_proportion
-- group: drift
-- needs:
-- summary: Test whether a condition holds as often as it ought to; no reference is needed. `value` is the
--   probability that chance alone brings the share so far from there. Drift below 0.05. `effect_size` is
--   Cohen's h.
-- formula: z = (share - expected) / sqrt(expected * (1 - expected) / n), two-sided; h = |2 asin sqrt(share) - 2
--   asin sqrt(expected)|
-- source: statsmodels' proportions_ztest(prop_var=expected); Cohen (1988)
-- parameter field: a condition over a prediction's columns; rows for which it is NULL are left out
-- parameter expected: the share of rows for which it ought to hold
-- parameter min_rows: rows that there must be, else `value` is NULL and `reason` says so
-- example: FROM one_proportion('churn', $window_start, $window_end, output.value = 'yes', 0.12)
CREATE TEMP MACRO one_proportion(
    model, since, until, field, expected, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', min_rows := 10
) AS TABLE
SELECT
    unnest(o.labels),
    o.start AS window_start,
    lapwing_window_end(every, o.start, since, until) AS window_end,
    lapwing_normal_p(o.way / nullif(sqrt(expected * (1 - expected) / o.sample_count), 0)) AS value,
    lapwing_number(o.way / nullif(sqrt(expected * (1 - expected) / o.sample_count), 0)) AS statistic,
    value AS p_value,
    abs(
        2 * asin(sqrt(CASE WHEN o.way IS NOT NULL THEN greatest(0.0, least(1.0, o.way + expected)) END))
        - 2 * asin(sqrt(expected))
    ) AS effect_size,
    o.sample_count,
    coalesce(o.reason, CASE WHEN value IS NULL THEN 'nothing varies' END) AS reason
FROM lapwing_one_side(
    model, since, until, (field)::BOOLEAN::INTEGER::DOUBLE, expected, segments, every, as_of, stage, min_rows
) AS o
ORDER BY ALL;

-- name: label_drift
-- group: drift
-- needs: truth
-- summary: Whether the truth of a span is distributed as that of another span was, by the method that fits: up
--   to 1 000 labels of the other span z_test (two classes), chi2_rows or ks_test, beyond js_distance_rows or
--   wasserstein. `drifted` is 1 if `value` is beyond `threshold` and the difference is significant and large
--   enough, else 0.
-- formula: as those metrics; a distance needs p_value <= 0.05, of chi2_rows or ks_test, a test needs
--   effect_size >= min_effect
-- source: Evidently's choice of methods and thresholds
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter samples: most values of a side that are looked at where they are numbers, as in ks_test
-- parameter min_effect: effect size that a test must have; 0: none
-- parameter min_rows: labels that each side must have, else `value` is NULL and `reason` says so
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM label_drift('churn', $window_start, $window_end, $window_start - INTERVAL 28 DAYS, $window_start)
CREATE TEMP MACRO label_drift(
    model, since, until, reference_since := NULL, reference_until := NULL, segments := {'segment': 'all'}, every := NULL,
    as_of := NULL, stage := 'production', samples := 10000, min_effect := 0.1, min_rows := 100, reference := NULL
) AS TABLE
WITH current AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        CASE WHEN lapwing_is_number('any', typeof(truth)) THEN lapwing_measure(truth) END AS x,
        CASE WHEN NOT lapwing_is_number('any', typeof(truth)) THEN truth::VARCHAR END AS word,
        prediction_id AS id
    FROM lapwing_labeled(model, since, until, as_of, stage)
),
before AS (
    SELECT
        segments AS labels,
        CASE WHEN lapwing_is_number('any', typeof(truth)) THEN lapwing_measure(truth) END AS x,
        CASE WHEN NOT lapwing_is_number('any', typeof(truth)) THEN truth::VARCHAR END AS word,
        prediction_id AS id
    FROM lapwing_labeled(model, reference_since, reference_until, as_of, stage)
    UNION ALL
    SELECT
        segments AS labels,
        CASE WHEN lapwing_is_number('any', typeof(truth)) THEN lapwing_measure(truth) END AS x,
        CASE WHEN NOT lapwing_is_number('any', typeof(truth)) THEN truth::VARCHAR END AS word,
        prediction_id AS id
    FROM lapwing_referenced(model, reference, reference_since)
),
current_side AS (
    SELECT
        c.labels, c.start, lapwing_side(c.x, c.word, c.id, samples) AS now, count(c.x) + count(c.word) AS sample_count,
        count(*) AS prediction_count
    FROM current AS c
    GROUP BY c.labels, c.start
),
reference_side AS (
    SELECT
        b.labels, lapwing_side(b.x, b.word, b.id, samples) AS seen, count(b.x) + count(b.word) AS reference_count,
        count(DISTINCT b.x) AS distinct_count
    FROM before AS b
    GROUP BY b.labels
),
sized AS (
    SELECT
        c.labels, c.start, c.now, r.seen, c.sample_count, c.prediction_count,
        coalesce(r.reference_count, 0) AS reference_count,
        r.seen.number_count > 0 AS is_number,
        list_sort(list_distinct(map_keys(c.now.words) || map_keys(r.seen.words))) AS names,
        CASE
            WHEN coalesce(r.reference_count, 0) < greatest(min_rows, 1)
                THEN 'fewer than ' || greatest(min_rows, 1) || ' labels to compare with'
            WHEN c.sample_count < greatest(min_rows, 1) THEN 'fewer than ' || greatest(min_rows, 1) || ' labels'
        END AS lacking,
        r.distinct_count
    FROM current_side AS c
    LEFT JOIN reference_side AS r ON c.labels IS NOT DISTINCT FROM r.labels
),
chosen AS (
    SELECT
        s.*,
        CASE
            WHEN s.is_number AND s.reference_count <= 1000 THEN 'kolmogorov_smirnov'
            WHEN s.is_number THEN 'wasserstein'
            WHEN s.reference_count > 1000 THEN 'js_distance'
            WHEN len(s.names) <= 2 THEN 'proportions'
            ELSE 'chi2'
        END AS method
    FROM sized AS s
),
compared AS (
    SELECT
        c.*,
        CASE
            WHEN c.lacking IS NOT NULL THEN NULL
            WHEN c.is_number THEN lapwing_two_samples(c.method, c.seen.sample, c.now.sample, 'reference')
            ELSE lapwing_two_counts(
                c.method, lapwing_aligned(c.seen, c.names, false), lapwing_aligned(c.now, c.names, false), 'reference'
            )
        END AS told,
        CASE
            WHEN c.lacking IS NOT NULL THEN NULL
            WHEN c.is_number
                THEN lapwing_two_samples('kolmogorov_smirnov', c.seen.sample, c.now.sample, 'reference')
            ELSE lapwing_two_counts(
                'chi2', lapwing_aligned(c.seen, c.names, false), lapwing_aligned(c.now, c.names, false), 'reference'
            )
        END AS tested
    FROM chosen AS c
),
judged AS (
    SELECT
        c.*,
        c.method IN ('js_distance', 'wasserstein') AS is_distance,
        CASE WHEN is_distance THEN c.told.statistic ELSE c.told.p_value END AS value,
        CASE WHEN is_distance THEN 0.1 ELSE 0.05 END::DOUBLE AS threshold
    FROM compared AS c
)
SELECT
    unnest(j.labels),
    j.start AS window_start,
    lapwing_window_end(every, j.start, since, until) AS window_end,
    CASE j.method
        WHEN 'kolmogorov_smirnov' THEN 'ks_test' WHEN 'wasserstein' THEN 'wasserstein'
        WHEN 'js_distance' THEN 'js_distance_rows' WHEN 'proportions' THEN 'z_test' ELSE 'chi2_rows'
    END AS method,
    j.value,
    j.threshold,
    coalesce(j.told.p_value, j.tested.p_value) AS p_value,
    j.told.effect_size AS effect_size,
    CASE
        WHEN j.is_distance THEN j.value >= j.threshold AND j.tested.p_value <= 0.05
        ELSE j.value <= j.threshold AND j.told.effect_size >= min_effect
    END::INTEGER AS drifted,
    j.sample_count,
    j.reference_count,
    (SELECT k.reference_name FROM lapwing_kept_reference(model, reference, reference_since) AS k) AS reference,
    j.sample_count / j.prediction_count AS label_coverage,
    coalesce(j.lacking, j.told.reason) AS reason
FROM judged AS j
ORDER BY ALL;

-- name: drift
-- group: drift
-- needs:
-- summary: Which fields of a span are distributed otherwise than in a reference: a verdict for every field,
--   from counts in bins that do not move. The method is chosen by field: up to 1 000 rows of reference
--   ks_binned for numbers, chi2 for categories and for numbers with 3 to 5 values, z_test where there are two;
--   beyond that wasserstein_binned for numbers, js_distance for categories and for numbers with up to 5 values.
--   `drifted` is 1 if the field drifted and 0 if not: a distance must reach its threshold, and the difference
--   must be significant; a test must be significant, and `effect_size` be at least `min_effect`. Significance
--   is judged over all fields of a window together.
-- formula: Benjamini and Hochberg (1995): `adjusted_p_value` = min over k >= rank of p(k) * fields / k, by
--   segment and window. `p_value` of distances is that of ks_binned for wasserstein_binned, else of chi2
-- source: Evidently's choice of methods and thresholds, on frozen bins; Benjamini and Hochberg (1995)
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern: `inputs.*` for features, `output.*` for predictions; all unless
--   told
-- parameter segment: a field whose segments are compared one by one, `inputs.carrier`, or one of them,
--   `inputs.carrier=AA`; profiles must be kept by it
-- parameter method: one for all fields that it suits: psi, js_distance, kl_divergence, hellinger,
--   total_variation, wasserstein_binned, ks_binned, chi2, g_test, z_test; chosen by field unless told
-- parameter threshold: of the method; 0.1 for distances and g_test, 0.05 for other tests unless told
-- parameter significance: adjusted probability that a distance's difference must be below; 1: none
-- parameter adjust: whether probabilities are adjusted for the number of fields
-- parameter min_effect: effect size that a test must have; 0: none
-- parameter bins: ranges that numbers are put together in by psi, js_distance and the like; NULL: all
-- parameter nulls: whether missing values are a bin of their own
-- parameter min_rows: rows that each side must have, else there is no verdict and `reason` says so
-- example: FROM drift('churn', $window_start, $window_end, reference := 'train', fields := 'inputs.*')
CREATE TEMP MACRO drift(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := '*',
    segment := '', every := NULL, stage := 'production', method := NULL, threshold := NULL, significance := 0.05,
    adjust := true, min_effect := 0.1, bins := 10, nulls := true, min_rows := 100
) AS TABLE
SELECT
    v.part AS segment,
    v.field_name AS field,
    v.start AS window_start,
    lapwing_window_end(every, v.start, since, until) AS window_end,
    v.* EXCLUDE (part, field_name, start)
FROM lapwing_verdicts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, method,
    threshold, significance, adjust, min_effect, bins, nulls, min_rows
) AS v
ORDER BY ALL;

-- name: dataset_drift
-- group: drift
-- needs:
-- summary: How much of a model's input drifted: the share of its fields that did, each weighted with its
--   importance where asked for. `drifted` is 1 if that is at least `share`. `top_fields` are those that
--   drifted, the most important first, then those that are furthest beyond their threshold.
-- formula: drifted fields / fields with a verdict; weighted: sum(importance * drifted) / sum(importance) over
--   fields of which the model's description tells the importance
-- source: Evidently's share of drifted columns, at least 0.5
-- parameter reference: name of the reference; without it the newest of the role `drift`
-- parameter reference_since: begin of a span to compare with instead of a stored reference
-- parameter reference_until: its end, exclusive
-- parameter fields: which fields, as a pattern
-- parameter segment: as in drift
-- parameter method: as in drift
-- parameter threshold: as in drift
-- parameter significance: as in drift
-- parameter adjust: as in drift
-- parameter min_effect: as in drift
-- parameter bins: as in drift
-- parameter nulls: as in drift
-- parameter min_rows: as in drift
-- parameter share: from which on the model's input as a whole drifted
-- parameter weighted: whether `value` is the weighted share, where importances are known
-- parameter top: how many fields `top_fields` has at most
-- example: FROM dataset_drift('churn', $window_start, $window_end, reference := 'train', weighted := true)
CREATE TEMP MACRO dataset_drift(
    model, since, until, reference := NULL, reference_since := NULL, reference_until := NULL, fields := 'inputs.*',
    segment := '', every := NULL, stage := 'production', method := NULL, threshold := NULL, significance := 0.05,
    adjust := true, min_effect := 0.1, bins := 10, nulls := true, min_rows := 100, share := 0.5, weighted := false,
    top := 5
) AS TABLE
WITH shares AS (
    SELECT
        v.part, v.start,
        avg(v.drifted) AS plain_share,
        lapwing_ratio(
            sum(v.importance * v.drifted), sum(v.importance) FILTER (v.drifted IS NOT NULL)
        ) AS weighted_share,
        count(v.drifted) FILTER (v.drifted = 1) AS drifted_count,
        count(v.drifted) AS field_count,
        list(v.field_name ORDER BY v.importance DESC NULLS LAST, v.beyond DESC, v.field_name)
            FILTER (v.drifted = 1) AS drifted_fields,
        max(v.sample_count) AS sample_count,
        max(v.reference_count) AS reference_count,
        any_value(v.reference) AS reference_name,
        CASE WHEN count(v.drifted) = 0 THEN any_value(v.reason ORDER BY v.field_name) END AS reason
    FROM (
        SELECT v.*, CASE WHEN v.value > v.threshold THEN v.value / v.threshold ELSE v.threshold / v.value END AS beyond
        FROM lapwing_verdicts(
            model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, method,
            threshold, significance, adjust, min_effect, bins, nulls, min_rows
        ) AS v
    ) AS v
    GROUP BY v.part, v.start
),
chosen AS (
    SELECT s.*, CASE WHEN weighted THEN coalesce(s.weighted_share, s.plain_share) ELSE s.plain_share END AS value
    FROM shares AS s
)
SELECT
    c.part AS segment,
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.value,
    c.weighted_share,
    (c.value >= share)::INTEGER AS drifted,
    c.drifted_count,
    c.field_count,
    coalesce(c.drifted_fields, [])[:top] AS top_fields,
    c.sample_count,
    c.reference_count,
    c.reference_name AS reference,
    c.reason
FROM chosen AS c
ORDER BY ALL;
