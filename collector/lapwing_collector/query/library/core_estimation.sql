-- Pieces of what is estimated before labels come.

-- name: lapwing_calibration_span
-- From when until when labelled rows tell how scores become probabilities: the 30 days before, if nothing is asked for.
CREATE TEMP MACRO lapwing_calibration_span(since, calibrate_since, calibrate_until) AS
{
    'until': coalesce(calibrate_until::TIMESTAMP, since::TIMESTAMP),
    'since': coalesce(
        calibrate_since::TIMESTAMP, coalesce(calibrate_until::TIMESTAMP, since::TIMESTAMP) - INTERVAL 30 DAYS
    )
};

-- name: lapwing_knots
-- The curve from scores to probabilities, as pieces from a score on: between two knots it is straight. `n` is of how
-- many labelled rows it is made; of less than `min_samples` there is one knot, without a probability.
CREATE TEMP MACRO lapwing_knots(model, since, until, as_of, stage, weights, method, min_samples) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, {'segment': 'all'}, NULL, as_of, stage, weights)
),
curves AS (
    SELECT
        l.n,
        CASE
            WHEN method = 'none' THEN {'score': [0.0, 1.0]::DOUBLE[], 'probability': [0.0, 1.0]::DOUBLE[]}
            WHEN method <> 'isotonic' THEN error('method is isotonic or none, and not ' || method)
            WHEN l.n >= min_samples THEN lapwing_isotonic(l.levels.score, l.levels.pos, l.levels.neg)
        END AS curve
    FROM ladders AS l
),
knots AS (
    SELECT
        c.n,
        generate_subscripts(c.curve.score, 1) AS rank,
        unnest(c.curve.score) AS score,
        unnest(c.curve.probability) AS probability
    FROM curves AS c
),
pieces AS (
    SELECT
        k.*,
        lead(k.score) OVER (ORDER BY k.rank) AS next_score,
        lead(k.probability) OVER (ORDER BY k.rank) AS next_probability
    FROM knots AS k
)
SELECT p.* EXCLUDE (rank) FROM pieces AS p
UNION ALL
SELECT k.n, '-infinity'::DOUBLE, k.probability, NULL, NULL FROM knots AS k WHERE k.rank = 1
UNION ALL
SELECT c.n, '-infinity'::DOUBLE, NULL, NULL, NULL FROM curves AS c WHERE c.curve IS NULL;

-- name: lapwing_expected
-- Predictions of a span with the probability `p` that they are of the positive class, by the labels of another.
CREATE TEMP MACRO lapwing_expected(
    model, since, until, segments, every, as_of, stage, weights, threshold,
    calibrate_since, calibrate_until, method, min_samples
) AS TABLE
WITH classified AS (
    SELECT
        c.*,
        c.truth = c.positive_class AS actual,
        CASE
            WHEN threshold::DOUBLE IS NULL THEN c.prediction = c.positive_class
            ELSE c.score >= threshold
        END AS chosen
    FROM lapwing_classified(model, since, until, segments, every, as_of, stage, weights) AS c
),
knots AS (
    FROM lapwing_knots(
        model,
        lapwing_calibration_span(since, calibrate_since, calibrate_until).since,
        lapwing_calibration_span(since, calibrate_since, calibrate_until).until,
        as_of, stage, weights, method, min_samples
    )
)
SELECT
    c.*,
    CASE
        WHEN k.next_score IS NULL OR isinf(c.score) OR isinf(k.score) THEN k.probability
        ELSE k.probability
            + (k.next_probability - k.probability) * (c.score - k.score) / (k.next_score - k.score)
    END AS p,
    k.n AS calibration_count
FROM classified AS c ASOF LEFT JOIN knots AS k ON c.score >= k.score;

-- name: lapwing_product
-- Counts of a class, times factors for true and false positives, false and true negatives.
CREATE TEMP MACRO lapwing_product(factors, counts) AS
factors[1] * counts.tp + factors[2] * counts.fp + factors[3] * counts.fn + factors[4] * counts.tn;
