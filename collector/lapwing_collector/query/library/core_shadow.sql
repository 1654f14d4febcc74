-- Pieces of the metrics that compare two versions of a model by the requests that both answered.

-- name: lapwing_side_of_pairs
-- Predictions of one side: the first of each request, by version and variant.
CREATE TEMP MACRO lapwing_side_of_pairs(rows, version, variant) AS TABLE
SELECT r.*
FROM query_table(rows) AS r
WHERE (version IS NULL OR r.version = version) AND (variant IS NULL OR r.variant = variant)
QUALIFY r.request_id IS NULL OR row_number() OVER (
    PARTITION BY r.request_id, r.version, r.variant ORDER BY r.time, r.prediction_id
) = 1;

-- name: lapwing_pairs
-- Predictions of the champion with those of the challenger for the same request, as `challenger`; `side` says whether
-- there are both, or the champion or the challenger alone. What two stages say of one request may be an hour apart;
-- the champion's time counts. The truth is the champion's.
CREATE TEMP MACRO lapwing_pairs(
    model, since, until, segments, every, as_of, stage, weights, version, variant,
    challenger_stage, challenger_version, challenger_variant
) AS TABLE
WITH labeled AS (
    FROM lapwing_labeled(model, since, until, as_of, stage)
),
around AS (
    FROM lapwing_predictions(
        model, since::TIMESTAMP - INTERVAL 1 HOUR, until::TIMESTAMP + INTERVAL 1 HOUR, as_of, stage
    )
),
other_around AS (
    FROM lapwing_predictions(
        model, since::TIMESTAMP - INTERVAL 1 HOUR, until::TIMESTAMP + INTERVAL 1 HOUR, as_of, challenger_stage
    )
),
champions AS (
    FROM lapwing_side_of_pairs('labeled', version, variant)
),
challengers AS (
    FROM lapwing_side_of_pairs('other_around', challenger_version, challenger_variant)
),
answered AS (
    SELECT DISTINCT a.request_id FROM lapwing_side_of_pairs('around', version, variant) AS a
),
paired AS (
    SELECT
        c.*,
        o AS challenger,
        if(o.request_id IS NULL, 'champion', 'both') AS side
    FROM champions AS c
    LEFT JOIN challengers AS o ON c.request_id = o.request_id AND c.prediction_id IS DISTINCT FROM o.prediction_id
    UNION ALL BY NAME
    SELECT o.*, 'challenger' AS side
    FROM challengers AS o
    WHERE o.time >= since::TIMESTAMP AND o.time < until::TIMESTAMP
        AND (o.request_id IS NULL OR o.request_id NOT IN (
            SELECT a.request_id FROM answered AS a WHERE a.request_id IS NOT NULL
        ))
),
described AS (
    SELECT p.*, d.positive_class FROM paired AS p CROSS JOIN lapwing_described(model) AS d
)
SELECT
    segments AS labels,
    lapwing_window_start(every, r.time, since) AS start,
    r.side,
    r.prediction,
    r.score,
    r.scores,
    r.challenger.prediction AS other_prediction,
    r.challenger.score AS other_score,
    r.challenger.scores AS other_scores,
    r.positive_class,
    r.truth,
    r.mature,
    lapwing_weight(r.weight, weights) AS weighed,
    CASE WHEN weighed > 0 AND isfinite(weighed) THEN weighed END AS w
FROM described AS r;

-- name: lapwing_exact_mcnemar
-- The two-sided p-value of `left_only` among those in which only one is right, if either is as likely.
CREATE TEMP MACRO lapwing_exact_mcnemar(left_only, right_only) AS
CASE
    WHEN left_only + right_only = 0 THEN 1.0
    ELSE least(1.0, 2 * list_sum(list_transform(
        range(0, least(left_only, right_only) + 1),
        lambda k: exp(
            lgamma(left_only + right_only + 1) - lgamma(k + 1) - lgamma(left_only + right_only - k + 1)
            - (left_only + right_only) * ln(2)
        )
    )))
END;

-- name: lapwing_paired_shares
-- Interval of the difference of two shares of the same `n` rows, of which `shared` count in both, only the first (`one`), only the
-- other (`two`), or neither (Newcombe, 1998, method 10).
CREATE TEMP MACRO lapwing_paired_shares(shared, one, two, n, confidence) AS
list_transform(
    list_transform(
        [{
            'first': (shared + one) / n,
            'other': (shared + two) / n,
            'first_bounds': lapwing_wilson(shared + one, n, confidence),
            'other_bounds': lapwing_wilson(shared + two, n, confidence),
            'covariance': shared * (n - shared - one - two) - one * two,
            'spread': sqrt((shared + one) * (n - shared - one) * (shared + two) * (n - shared - two))
        }],
        lambda t: {
            'difference': t.first - t.other,
            'phi': coalesce(lapwing_ratio(
                CASE WHEN t.covariance > 0 THEN greatest(t.covariance - n / 2, 0) ELSE t.covariance END, t.spread
            ), 0),
            'first_down': t.first - t.first_bounds.low,
            'first_up': t.first_bounds.high - t.first,
            'other_down': t.other - t.other_bounds.low,
            'other_up': t.other_bounds.high - t.other
        }
    ),
    lambda t: {
        'low': t.difference - sqrt(greatest(
            t.first_down ** 2 - 2 * t.phi * t.first_down * t.other_up + t.other_up ** 2, 0 * t.difference
        )),
        'high': t.difference + sqrt(greatest(
            t.first_up ** 2 - 2 * t.phi * t.first_up * t.other_down + t.other_down ** 2, 0 * t.difference
        ))
    }
)[1];

-- name: lapwing_placement
-- The weighted share of the rows of the other kind that a row is above of, equal scores counting half: of a positive row
-- that of the negative ones, of a negative row that of the positive ones above it. Sums run up to a score, `_at` is at it.
CREATE TEMP MACRO lapwing_placement(positive, pos_to, pos_at, pos_all, neg_to, neg_at, neg_all) AS
CASE
    WHEN positive THEN lapwing_ratio(neg_to - neg_at / 2, neg_all)
    ELSE lapwing_ratio(pos_all - pos_to + pos_at / 2, pos_all)
END;

-- name: lapwing_placed
-- Pairs that count, with the placements of the champion's and of the challenger's score. `pairs` is the name of a CTE
-- with labels, start, positive, score, other_score and w.
CREATE TEMP MACRO lapwing_placed(pairs) AS TABLE
WITH weighed AS (
    SELECT r.*, if(r.positive, r.w, 0.0) AS pos, if(r.positive, 0.0, r.w) AS neg FROM query_table(pairs) AS r
)
SELECT
    r.labels,
    r.start,
    r.positive,
    r.w,
    sum(r.pos) OVER whole AS pos_all,
    sum(r.neg) OVER whole AS neg_all,
    lapwing_placement(
        r.positive,
        sum(r.pos) OVER up_to, sum(r.pos) OVER level, pos_all,
        sum(r.neg) OVER up_to, sum(r.neg) OVER level, neg_all
    ) AS placement,
    lapwing_placement(
        r.positive,
        sum(r.pos) OVER other_up_to, sum(r.pos) OVER other_level, pos_all,
        sum(r.neg) OVER other_up_to, sum(r.neg) OVER other_level, neg_all
    ) AS other_placement
FROM weighed AS r
WINDOW
    whole AS (PARTITION BY r.labels, r.start),
    up_to AS (PARTITION BY r.labels, r.start ORDER BY r.score),
    level AS (PARTITION BY r.labels, r.start, r.score),
    other_up_to AS (PARTITION BY r.labels, r.start ORDER BY r.other_score),
    other_level AS (PARTITION BY r.labels, r.start, r.other_score);
