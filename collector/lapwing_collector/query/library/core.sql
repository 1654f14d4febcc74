-- Pieces that metrics are made of. Their names begin with lapwing_, and queries cannot call them.
-- A parameter stands for its argument wherever its bare name stands, so columns of the same name are qualified.
-- What a piece calls stands before it.

-- name: lapwing_scored
-- Every prediction of a model, with the columns `prediction`, `score`, `scores` and `items` by its roles.
CREATE TEMP MACRO lapwing_scored(model) AS TABLE
SELECT * FROM query_table('temp.main."scored:' || replace(model, '"', '""') || '"');

-- name: lapwing_all_truths
-- Every label of a model, with the column `truth` by its role.
CREATE TEMP MACRO lapwing_all_truths(model) AS TABLE
SELECT * FROM query_table('temp.main."truths:' || replace(model, '"', '""') || '"');

-- name: lapwing_untimed_truths
-- The labels that do not know the time of their prediction; where no file has any, none is opened for it.
CREATE TEMP MACRO lapwing_untimed_truths(model) AS TABLE
SELECT * FROM query_table('temp.main."untimed:' || replace(model, '"', '""') || '"');

-- name: lapwing_described
-- One row: task, positive_class, threshold, label_delay, newest (the newest event time of the model).
CREATE TEMP MACRO lapwing_described(model) AS TABLE
SELECT * FROM query_table('temp.main."described:' || replace(model, '"', '""') || '"');

-- name: lapwing_predictions
-- Predictions of a span: of one stage (all if NULL), received by `as_of` (whenever if NULL).
CREATE TEMP MACRO lapwing_predictions(model, since, until, as_of, stage) AS TABLE
SELECT p.*
FROM lapwing_scored(model) AS p
WHERE p.time >= since::TIMESTAMP AND p.time < until::TIMESTAMP
    AND (stage IS NULL OR p.stage = stage)
    AND (as_of IS NULL OR p.received_at <= as_of::TIMESTAMP);

-- name: lapwing_candidate
-- What decides between labels of one prediction, and what it decides: the greatest holds. NULL without a label.
CREATE TEMP MACRO lapwing_candidate(moment, label, truth, received_at) AS
CASE WHEN label IS NOT NULL THEN {
    'time': moment, 'digest': md5(label::VARCHAR), 'truth': truth, 'received_at': received_at, 'label': label
} END;

-- name: lapwing_alone
-- Whether at most one of four ways has led to a label, so that nothing has to be compared.
CREATE TEMP MACRO lapwing_alone(a, b, c, d) AS
(a IS NOT NULL)::INTEGER + (b IS NOT NULL)::INTEGER + (c IS NOT NULL)::INTEGER + (d IS NOT NULL)::INTEGER <= 1;

-- name: lapwing_timed_labels
-- Labels of predictions of a span, received by `as_of`; corrected ones with each of their values.
CREATE TEMP MACRO lapwing_timed_labels(model, since, until, as_of) AS TABLE
SELECT t.prediction_id, t.prediction_time, t.request_id, t.time, t.label, t.truth, t.received_at
FROM lapwing_all_truths(model) AS t
WHERE t.label IS NOT NULL AND t.prediction_time >= since::TIMESTAMP AND t.prediction_time < until::TIMESTAMP
    AND (as_of IS NULL OR t.received_at <= as_of::TIMESTAMP);

-- name: lapwing_untimed_labels
CREATE TEMP MACRO lapwing_untimed_labels(model, as_of) AS TABLE
SELECT t.prediction_id, t.request_id, t.time, t.label, t.truth, t.received_at
FROM lapwing_untimed_truths(model) AS t
WHERE t.label IS NOT NULL AND (as_of IS NULL OR t.received_at <= as_of::TIMESTAMP);

-- name: lapwing_by_time
-- The label that holds, of predictions whose time and id are told. Nearly all have one label, which needs neither
-- a digest nor a comparison. An interval is filtered by, not a set of ids, so that files can be skipped; only keys
-- are a CTE that is read twice, for which every column is read.
CREATE TEMP MACRO lapwing_by_time(model, since, until, as_of) AS TABLE
WITH repeated AS MATERIALIZED (
    SELECT l.prediction_time, l.prediction_id
    FROM lapwing_timed_labels(model, since, until, as_of) AS l
    WHERE l.prediction_id IS NOT NULL
    GROUP BY ALL
    HAVING count(*) > 1
)
SELECT l.prediction_time, l.prediction_id, l.time, l.label, l.truth, l.received_at
FROM lapwing_timed_labels(model, since, until, as_of) AS l
ANTI JOIN repeated AS e ON l.prediction_time = e.prediction_time AND l.prediction_id = e.prediction_id
WHERE l.prediction_id IS NOT NULL
UNION ALL
SELECT
    c.prediction_time, c.prediction_id,
    c.candidate.time, c.candidate.label, c.candidate.truth, c.candidate.received_at
FROM (
    SELECT
        l.prediction_time, l.prediction_id,
        max(lapwing_candidate(l.time, l.label, l.truth, l.received_at)) AS candidate
    FROM lapwing_timed_labels(model, since, until, as_of) AS l
    SEMI JOIN repeated AS e ON l.prediction_time = e.prediction_time AND l.prediction_id = e.prediction_id
    GROUP BY ALL
) AS c;

-- name: lapwing_by_id
-- The label that holds, of predictions of which only the id is told.
CREATE TEMP MACRO lapwing_by_id(model, as_of) AS TABLE
SELECT c.prediction_id, c.candidate.time, c.candidate.label, c.candidate.truth, c.candidate.received_at
FROM (
    SELECT l.prediction_id, max(lapwing_candidate(l.time, l.label, l.truth, l.received_at)) AS candidate
    FROM lapwing_untimed_labels(model, as_of) AS l
    WHERE l.prediction_id IS NOT NULL
    GROUP BY ALL
) AS c;

-- name: lapwing_by_request
-- The label that holds, of requests.
CREATE TEMP MACRO lapwing_by_request(model, since, until, as_of) AS TABLE
SELECT c.request_id, c.candidate.time, c.candidate.label, c.candidate.truth, c.candidate.received_at
FROM (
    SELECT l.request_id, max(lapwing_candidate(l.time, l.label, l.truth, l.received_at)) AS candidate
    FROM (
        SELECT t.request_id, t.time, t.label, t.truth, t.received_at
        FROM lapwing_timed_labels(model, since, until, as_of) AS t
        WHERE t.prediction_id IS NULL
        UNION ALL
        SELECT u.request_id, u.time, u.label, u.truth, u.received_at
        FROM lapwing_untimed_labels(model, as_of) AS u
        WHERE u.prediction_id IS NULL
    ) AS l
    GROUP BY ALL
) AS c;

-- name: lapwing_by_partner
-- The label that holds, of requests for which a production prediction was made within an hour of the span.
CREATE TEMP MACRO lapwing_by_partner(model, since, until, as_of) AS TABLE
SELECT c.request_id, c.candidate.time, c.candidate.label, c.candidate.truth, c.candidate.received_at
FROM (
    SELECT
        q.request_id,
        max(greatest(
            lapwing_candidate(t.time, t.label, t.truth, t.received_at),
            lapwing_candidate(i.time, i.label, i.truth, i.received_at)
        )) AS candidate
    FROM lapwing_predictions(model, since::TIMESTAMP - INTERVAL 1 HOUR, until::TIMESTAMP + INTERVAL 1 HOUR, as_of, 'production') AS q
    LEFT JOIN lapwing_by_time(model, since::TIMESTAMP - INTERVAL 1 HOUR, until::TIMESTAMP + INTERVAL 1 HOUR, as_of) AS t
        ON q.time = t.prediction_time AND q.prediction_id = t.prediction_id
    LEFT JOIN lapwing_by_id(model, as_of) AS i ON q.prediction_id = i.prediction_id
    WHERE q.request_id IS NOT NULL
    GROUP BY ALL
) AS c;

-- name: lapwing_labeled
-- Predictions of a span with `truth`, `truth_time` and `truth_received_at`, NULL while unknown, and `mature`:
-- whether the label can be expected by now. A label finds its prediction as in the view `labeled`; what is
-- known of a production prediction holds for those of other stages with its request, too. Were the stage a
-- condition of its own in the last join, DuckDB would compare each prediction with each request where files say
-- that all are of production.
CREATE TEMP MACRO lapwing_labeled(model, since, until, as_of, stage) AS TABLE
SELECT
    p.*,
    CASE WHEN lapwing_alone(t.label, i.label, r.label, s.label)
        THEN coalesce(t.truth, i.truth, r.truth, s.truth)
        ELSE greatest(
            lapwing_candidate(t.time, t.label, t.truth, t.received_at),
            lapwing_candidate(i.time, i.label, i.truth, i.received_at),
            lapwing_candidate(r.time, r.label, r.truth, r.received_at),
            lapwing_candidate(s.time, s.label, s.truth, s.received_at)
        ).truth
    END AS truth,
    greatest(t.time, i.time, r.time, s.time) AS truth_time,
    CASE WHEN lapwing_alone(t.label, i.label, r.label, s.label)
        THEN coalesce(t.received_at, i.received_at, r.received_at, s.received_at)
        ELSE greatest(
            lapwing_candidate(t.time, t.label, t.truth, t.received_at),
            lapwing_candidate(i.time, i.label, i.truth, i.received_at),
            lapwing_candidate(r.time, r.label, r.truth, r.received_at),
            lapwing_candidate(s.time, s.label, s.truth, s.received_at)
        ).received_at
    END AS truth_received_at,
    p.time + d.label_delay <= least(as_of::TIMESTAMP, d.newest) AS mature
FROM lapwing_predictions(model, since, until, as_of, stage) AS p
CROSS JOIN lapwing_described(model) AS d
LEFT JOIN lapwing_by_time(model, since, until, as_of) AS t
    ON p.time = t.prediction_time AND p.prediction_id = t.prediction_id
LEFT JOIN lapwing_by_id(model, as_of) AS i ON p.prediction_id = i.prediction_id
LEFT JOIN lapwing_by_request(model, since, until, as_of) AS r ON p.request_id = r.request_id
LEFT JOIN (
    SELECT b.* FROM lapwing_by_partner(model, since, until, as_of) AS b WHERE stage IS DISTINCT FROM 'production'
) AS s ON CASE WHEN p.stage <> 'production' THEN p.request_id END = s.request_id;

-- name: lapwing_window_start
-- Where the window that a time is in begins: windows of length `every` from `since` on; those of months and
-- years begin with them, the first of all with the span. The whole span is one window if `every` is NULL.
CREATE TEMP MACRO lapwing_window_start(every, moment, since) AS
CASE
    WHEN every::INTERVAL IS NULL THEN since::TIMESTAMP
    ELSE greatest(time_bucket(every::INTERVAL, moment, since::TIMESTAMP), since::TIMESTAMP)
END;

-- name: lapwing_window_end
-- Where the window that begins at `start` ends; the last ends with the span.
CREATE TEMP MACRO lapwing_window_end(every, start, since, until) AS
CASE
    WHEN every::INTERVAL IS NULL THEN until::TIMESTAMP
    ELSE least(
        time_bucket(every::INTERVAL, start, since::TIMESTAMP) + every::INTERVAL, until::TIMESTAMP
    )
END;

-- name: lapwing_weight
-- How much a row counts: what sampling left of it, times what the caller gives.
CREATE TEMP MACRO lapwing_weight(row_weight, weights) AS coalesce(row_weight, 1.0) * weights::DOUBLE;

-- name: lapwing_number
-- A number, NULL where it is none or infinite.
CREATE TEMP MACRO lapwing_number(x) AS CASE WHEN isfinite(x::DOUBLE) THEN x::DOUBLE END;

-- name: lapwing_ratio
-- A quotient that is NULL where there is nothing to divide by, and where it is no number.
CREATE TEMP MACRO lapwing_ratio(part, whole) AS lapwing_number(part::DOUBLE / nullif(whole::DOUBLE, 0));

-- name: lapwing_effective_count
-- How many rows of equal weight tell as much as those of a group with weights `w` (Kish, 1965). Aggregates.
CREATE TEMP MACRO lapwing_effective_count(w) AS lapwing_ratio(sum(w) * sum(w), sum(w * w));

-- name: lapwing_polynomial
-- The polynomial with these coefficients, the one of the highest power first, at `x`.
CREATE TEMP MACRO lapwing_polynomial(coefficients, x) AS
list_reduce(coefficients, lambda so_far, coefficient: so_far * x + coefficient);

-- name: lapwing_normal_quantile
-- Quantile of the standard normal distribution: algorithm AS 241, PPND16 (Wichura, 1988), good to 1e-15.
-- Python's function costs the first query half a second, since DuckDB imports pandas for it.
CREATE TEMP MACRO lapwing_normal_quantile(p) AS
list_transform(
    [CASE
        WHEN abs(p - 0.5) <= 0.425 THEN {
            'factor': p - 0.5,
            'x': 0.180625 - (p - 0.5) * (p - 0.5),
            'over': '[2509.0809287301227, 33430.57558358813, 67265.7709270087, 45921.95393154987,
                13731.69376550946, 1971.5909503065513, 133.14166789178438, 3.3871328727963665]'::DOUBLE[],
            'under': '[5226.495278852854, 28729.085735721943, 39307.89580009271, 21213.794301586597,
                5394.196021424751, 687.1870074920579, 42.31333070160091, 1.0]'::DOUBLE[]
        }
        WHEN p <= 0 OR p >= 1 THEN NULL
        WHEN sqrt(-ln(least(p, 1 - p))) <= 5 THEN {
            'factor': sign(p - 0.5),
            'x': sqrt(-ln(least(p, 1 - p))) - 1.6,
            'over': '[0.0007745450142783414, 0.022723844989269184, 0.2417807251774506, 1.2704582524523684,
                3.6478483247632045, 5.769497221460691, 4.630337846156546, 1.4234371107496835]'::DOUBLE[],
            'under': '[1.0507500716444169e-09, 0.0005475938084995345, 0.015198666563616457, 0.14810397642748008,
                0.6897673349851, 1.6763848301838038, 2.053191626637759, 1.0]'::DOUBLE[]
        }
        ELSE {
            'factor': sign(p - 0.5),
            'x': sqrt(-ln(least(p, 1 - p))) - 5,
            'over': '[2.0103343992922881e-07, 2.7115555687434876e-05, 0.0012426609473880784, 0.026532189526576124,
                0.29656057182850487, 1.7848265399172913, 5.463784911164114, 6.657904643501103]'::DOUBLE[],
            'under': '[2.0442631033899397e-15, 1.421511758316446e-07, 1.8463183175100548e-05,
                0.0007868691311456133, 0.014875361290850615, 0.1369298809227358, 0.599832206555888, 1.0]'::DOUBLE[]
        }
    END],
    lambda term: term.factor * lapwing_polynomial(term.over, term.x) / lapwing_polynomial(term.under, term.x)
)[1];

-- name: lapwing_two_sided_z
-- How many standard errors on either side make an interval of this confidence.
CREATE TEMP MACRO lapwing_two_sided_z(confidence) AS
CASE WHEN confidence > 0 AND confidence < 1 THEN lapwing_normal_quantile((1 + confidence::DOUBLE) / 2) END;

-- name: lapwing_wilson_middle
CREATE TEMP MACRO lapwing_wilson_middle(share, n, z) AS (share + z * z / (2 * n)) / (1 + z * z / n);

-- name: lapwing_wilson_half
CREATE TEMP MACRO lapwing_wilson_half(share, n, z) AS
z * sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n);

-- name: lapwing_wilson_by_z
-- The interval of a share that is `z` standard errors wide on either side; `greatest` passes over NULL.
CREATE TEMP MACRO lapwing_wilson_by_z(share, n, z) AS
CASE WHEN share + n + z IS NOT NULL THEN {
    'low': least(share, greatest(0.0, lapwing_wilson_middle(share, n, z) - lapwing_wilson_half(share, n, z))),
    'high': greatest(share, least(1.0, lapwing_wilson_middle(share, n, z) + lapwing_wilson_half(share, n, z)))
} END;

-- name: lapwing_wilson
-- Interval of a share: `successes` of `n`, either may be a fraction (Wilson, 1927). NULL if confidence is 0.
-- The list of one has the terms planned once, where the formula would repeat them: 0.1 s of each query.
CREATE TEMP MACRO lapwing_wilson(successes, n, confidence) AS
list_transform(
    [{
        'share': least(1.0, greatest(0.0, lapwing_ratio(successes, n))),
        'n': CASE WHEN successes IS NOT NULL THEN nullif(n::DOUBLE, 0) END,
        'z': lapwing_two_sided_z(confidence)
    }],
    lambda term: lapwing_wilson_by_z(term.share, term.n, term.z)
)[1];

-- name: lapwing_normal
-- Interval of an estimate by its standard error. NULL if confidence is 0. The list is that of `lapwing_wilson`.
CREATE TEMP MACRO lapwing_normal(estimate, error, confidence) AS
list_transform(
    [{'estimate': estimate::DOUBLE, 'reach': lapwing_two_sided_z(confidence) * error}],
    lambda term: {
        'low': lapwing_number(term.estimate - term.reach), 'high': lapwing_number(term.estimate + term.reach)
    }
)[1];

-- name: lapwing_coverage
-- Share of predictions that have a label. Aggregates.
CREATE TEMP MACRO lapwing_coverage(truth) AS count(truth) / count(*);

-- name: lapwing_maturity
-- Share of predictions whose label can be expected by now; NULL where nobody said when. Aggregates.
CREATE TEMP MACRO lapwing_maturity(mature) AS avg(mature::INTEGER);

-- name: lapwing_chosen
-- Whether a column is a field of this kind (leaf:, number:, text:) that is asked for; all are if `fields` is NULL.
CREATE TEMP MACRO lapwing_chosen(kind, name, fields) AS
starts_with(name, kind) AND (name = kind OR fields IS NULL OR list_contains(fields, name[length(kind) + 1 :]));

-- name: lapwing_quantile_name
-- How a quantile is labelled: 0.5, 0.99.
CREATE TEMP MACRO lapwing_quantile_name(q) AS q::DOUBLE::VARCHAR;

-- name: lapwing_field
-- The name of a field, from the name of its column.
CREATE TEMP MACRO lapwing_field(name) AS name[position(':' IN name) + 1 :];

-- name: lapwing_bounded
-- A number that can be squared and summed; `avg`, `stddev` and `corr` fail for greater ones.
CREATE TEMP MACRO lapwing_bounded(x) AS CASE WHEN abs(x) < 1e150 THEN x END;

-- name: lapwing_is_bounded
CREATE TEMP MACRO lapwing_is_bounded(least, most) AS least > -1e150 AND most < 1e150;

-- name: lapwing_corr
-- Pearson's correlation, NULL where one side is constant. Aggregates.
CREATE TEMP MACRO lapwing_corr(x, y) AS lapwing_number(corr(x, y));
