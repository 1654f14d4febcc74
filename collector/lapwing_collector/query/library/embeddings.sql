-- Drift of embeddings: how far the vectors of a span are from those of another.

-- name: embedding_drift
-- group: embeddings
-- needs:
-- summary: Drift of an embedding, by one of five methods. `classifier`: how well a linear classifier tells both
--   sides apart (area under the ROC curve; drift above 0.55, with fewer than 1 000 vectors in the reference above
--   the 95th percentile of what chance gives). `euclidean` and `cosine`: distance of the mean vectors (above 0.2).
--   `components`: share of components that moved by 0.1 standard deviations or more (above 0.2). `mmd`: maximum
--   mean discrepancy (above 0.015). `p_value` is known of `classifier` and `mmd`; `drifted` is 1 or 0.
-- formula: classifier: rows standardised, logistic regression by gradient descent on half of either side, area on
--   the other half, p by 999 shuffles of its sides; euclidean: |mean y - mean x|; cosine: 1 - cos(mean x, mean y);
--   components: Wasserstein distance / std of the reference (at least 0.001) each; mmd: unbiased squared, Gaussian
--   kernel exp(-|a - b|^2 / median squared distance within the reference), at most 500 vectors a side, p by 499
--   shuffles
-- source: methods and thresholds as in Evidently; sklearn.linear_model.SGDClassifier,
--   scipy.stats.wasserstein_distance, Gretton et al. (2012)
-- parameter field: which vectors: `inputs.embedding`; those with gaps or infinite numbers are left out
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter method: `classifier`, which needs the extra `lapwing[ml]` where the collector runs; `euclidean`,
--   `cosine`, `components` or `mmd`; `classifier`
-- parameter components: number of principal components of the reference that are looked at instead of the vectors;
--   NULL for the vectors as they are
-- parameter threshold: above which value it is drift; NULL for that of the method
-- parameter samples: most vectors of a side that are looked at: those whose ids have the least hashes, so that the
--   same are drawn each time, 2000
-- parameter min_rows: vectors that each side must have, else `value` is NULL and `reason` says so, 100
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM embedding_drift('churn', $window_start, $window_end, inputs.embedding, reference := 'train')
CREATE TEMP MACRO embedding_drift(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    method := 'classifier', components := NULL, threshold := NULL, samples := 2000, min_rows := 100, reference := NULL
) AS TABLE
WITH compared AS (
    SELECT d.*, lapwing_embeddings(method, d.seen, d.now, components) AS told
    FROM lapwing_drawn(
        model, since, until, lapwing_vector(field), reference, reference_since, reference_until, segments, every, as_of,
        stage, samples, min_rows
    ) AS d
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    c.told.statistic AS value,
    coalesce(threshold::DOUBLE, c.told.threshold) AS threshold,
    c.told.p_value AS p_value,
    (c.told.statistic > coalesce(threshold::DOUBLE, c.told.threshold))::INTEGER AS drifted,
    c.sample_count,
    c.reference_count,
    c.sampled,
    c.reference_name AS reference,
    coalesce(c.reason, c.told.reason) AS reason
FROM compared AS c
ORDER BY ALL;
