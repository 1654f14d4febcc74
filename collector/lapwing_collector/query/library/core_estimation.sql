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
-- The curve from scores of each class to probabilities, as pieces from a score on: between two knots it is straight. `n` is
-- of how many labelled rows it is made; of less than `min_samples` there is one knot, without a probability.
CREATE TEMP MACRO lapwing_knots(model, since, until, as_of, stage, weights, method, min_samples) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, {'segment': 'all'}, NULL, as_of, stage, weights)
),
curves AS (
    SELECT
        l.class,
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
        c.class,
        c.n,
        generate_subscripts(c.curve.score, 1) AS rank,
        unnest(c.curve.score) AS score,
        unnest(c.curve.probability) AS probability
    FROM curves AS c
),
pieces AS (
    SELECT
        k.*,
        lead(k.score) OVER along AS next_score,
        lead(k.probability) OVER along AS next_probability
    FROM knots AS k
    WINDOW along AS (PARTITION BY k.class ORDER BY k.rank)
)
SELECT p.* EXCLUDE (rank) FROM pieces AS p
UNION ALL
SELECT k.class, k.n, '-infinity'::DOUBLE, k.probability, NULL, NULL FROM knots AS k WHERE k.rank = 1
UNION ALL
SELECT c.class, c.n, '-infinity'::DOUBLE, NULL, NULL, NULL FROM curves AS c WHERE c.curve IS NULL;

-- name: lapwing_expected
-- Predictions of a span, a row per class that they have a score for (the positive class alone where there is one), with
-- the probability `p` that they are of it, by the labels of another span. Those of several classes sum to 1.
CREATE TEMP MACRO lapwing_expected(
    model, since, until, segments, every, as_of, stage, weights, threshold,
    calibrate_since, calibrate_until, method, min_samples
) AS TABLE
WITH classified AS (
    SELECT c.*, row_number() OVER () AS key
    FROM lapwing_classified(model, since, until, segments, every, as_of, stage, weights) AS c
),
scored AS (
    SELECT c.* EXCLUDE (score, scores), c.positive_class AS class, c.score
    FROM classified AS c
    WHERE c.positive_class IS NOT NULL
    UNION ALL
    SELECT c.* EXCLUDE (score, scores), unnest(map_keys(c.scores)), unnest(map_values(c.scores))
    FROM classified AS c
    WHERE c.positive_class IS NULL
),
knots AS (
    FROM lapwing_knots(
        model,
        lapwing_calibration_span(since, calibrate_since, calibrate_until).since,
        lapwing_calibration_span(since, calibrate_since, calibrate_until).until,
        as_of, stage, weights, method, min_samples
    )
),
placed AS (
    SELECT
        s.*,
        s.truth = s.class AS actual,
        CASE
            WHEN s.positive_class IS NULL OR threshold::DOUBLE IS NULL THEN s.prediction = s.class
            ELSE s.score >= threshold
        END AS chosen,
        CASE
            WHEN k.next_score IS NULL OR isinf(s.score) OR isinf(k.score) THEN k.probability
            ELSE k.probability
                + (k.next_probability - k.probability) * (s.score - k.score) / (k.next_score - k.score)
        END AS alone,
        k.n AS calibration_count
    FROM scored AS s ASOF LEFT JOIN knots AS k ON s.class = k.class AND s.score >= k.score
)
SELECT
    p.* EXCLUDE (alone),
    CASE
        WHEN p.positive_class IS NOT NULL THEN p.alone
        ELSE lapwing_ratio(p.alone, sum(p.alone) OVER (PARTITION BY p.key))
    END AS p
FROM placed AS p;

-- name: lapwing_product
-- Counts of a class, times factors for true and false positives, false and true negatives.
CREATE TEMP MACRO lapwing_product(factors, counts) AS
factors[1] * counts.tp + factors[2] * counts.fp + factors[3] * counts.fn + factors[4] * counts.tn;
