-- Pieces of the metrics of classifiers.

-- name: lapwing_average
-- How values of several classes become one; the positive class alone where there is one, unless told otherwise.
CREATE TEMP MACRO lapwing_average(average, positive_class) AS
CASE
    WHEN average IS NULL THEN CASE WHEN positive_class IS NULL THEN 'macro' ELSE 'binary' END
    WHEN average = 'binary' AND positive_class IS NULL
    THEN error('average := ''binary'' needs the positive class in the description of the model')
    WHEN average IN ('binary', 'macro', 'micro', 'weighted', 'none') THEN average
    ELSE error('average is binary, macro, micro, weighted or none (a row per class), and not ' || average)
END;

-- name: lapwing_average_of_scores
CREATE TEMP MACRO lapwing_average_of_scores(average) AS
CASE
    WHEN average IN ('macro', 'weighted', 'none') THEN average
    ELSE error('average is macro, weighted or none (a row per class), and not ' || average)
END;

-- name: lapwing_share_by_error
-- Interval of a share whose variance is known, as Wilson's for as many rows as that variance tells of; where it
-- tells nothing, at 0 and 1, for `rows` of them.
CREATE TEMP MACRO lapwing_share_by_error(share, variance, rows, confidence) AS
list_transform(
    [{
        'share': share,
        'n': CASE
            WHEN variance > 0 AND share > 0 AND share < 1 THEN lapwing_ratio(share * (1 - share), variance)
            ELSE rows
        END
    }],
    lambda term: lapwing_wilson(term.share * term.n, term.n, confidence)
)[1];

-- name: lapwing_kish
CREATE TEMP MACRO lapwing_kish(w, w2) AS lapwing_ratio(w * w, w2);

-- name: lapwing_classified
-- Predictions of a classifier with their labels, segments and windows; `w` is NULL where a row does not count.
CREATE TEMP MACRO lapwing_classified(model, since, until, segments, every, as_of, stage, weights) AS TABLE
WITH labeled AS (
    SELECT l.*, d.positive_class, d.negative_class
    FROM lapwing_labeled(model, since, until, as_of, stage) AS l CROSS JOIN lapwing_described(model) AS d
)
SELECT
    segments AS labels,
    lapwing_window_start(every, r.time, since) AS start,
    r.prediction,
    r.truth,
    r.score,
    r.scores,
    r.positive_class,
    r.negative_class,
    lapwing_weight(r.weight, weights) AS weighed,
    CASE WHEN weighed > 0 AND isfinite(weighed) THEN weighed END AS w,
    r.mature
FROM labeled AS r;

-- name: lapwing_log_loss
-- Negative logarithm of the probability that the true class was given; NULL where that is none.
CREATE TEMP MACRO lapwing_log_loss(positive_class, truth, score, scores) AS
list_transform(
    [CASE
        WHEN truth IS NULL THEN NULL
        WHEN positive_class IS NULL THEN CASE WHEN scores IS NOT NULL THEN coalesce(scores[truth], 0) END
        WHEN truth = positive_class THEN score
        ELSE 1 - score
    END],
    lambda p: CASE WHEN p BETWEEN 0 AND 1 THEN -ln(least(greatest(p, 2.0 ** -52), 1 - 2.0 ** -52)) END
)[1];

-- name: lapwing_brier
-- Squared differences between probabilities and what came; NULL where one is no probability.
CREATE TEMP MACRO lapwing_brier(positive_class, truth, score, scores) AS
CASE
    WHEN truth IS NULL THEN NULL
    WHEN positive_class IS NULL
    THEN CASE
        WHEN list_bool_and(list_transform(map_values(scores), lambda p: p BETWEEN 0 AND 1))
        THEN list_sum(list_transform(map_values(scores), lambda p: p * p)) - 2 * coalesce(scores[truth], 0) + 1
    END
    WHEN score BETWEEN 0 AND 1 THEN (score - (truth = positive_class)::INTEGER) ** 2
END;

-- name: lapwing_loss
CREATE TEMP MACRO lapwing_loss(loss, positive_class, truth, score, scores) AS
CASE
    WHEN loss = 'brier' THEN lapwing_brier(positive_class, truth, score, scores)
    WHEN loss = 'log' THEN lapwing_log_loss(positive_class, truth, score, scores)
    ELSE error('loss is brier or log, and not ' || loss)
END;

-- name: lapwing_cells
-- Counts of predictions by true and predicted class, those without a label too. With a threshold there are two
-- classes, and it decides between them.
CREATE TEMP MACRO lapwing_cells(model, since, until, segments, every, as_of, stage, weights, threshold) AS TABLE
WITH decided AS (
    SELECT
        c.* EXCLUDE (truth, prediction),
        CASE
            WHEN threshold::DOUBLE IS NULL THEN c.truth
            WHEN c.positive_class IS NULL
            THEN error('a threshold needs the positive class in the description of the model')
            WHEN c.truth IS NOT NULL THEN if(c.truth = c.positive_class, c.positive_class, c.negative_class)
        END AS truth,
        CASE
            WHEN threshold::DOUBLE IS NULL THEN c.prediction
            WHEN c.score IS NOT NULL THEN if(c.score >= threshold, c.positive_class, c.negative_class)
        END AS prediction
    FROM lapwing_classified(model, since, until, segments, every, as_of, stage, weights) AS c
)
SELECT
    c.labels,
    c.start,
    c.positive_class,
    c.truth,
    c.prediction,
    count(*) AS predictions,
    count(c.mature) AS dated,
    count(*) FILTER (c.mature) AS mature,
    count(c.w) AS n,
    coalesce(sum(c.w), 0.0) AS w,
    coalesce(sum(c.w * c.w), 0.0) AS w2
FROM decided AS c
GROUP BY c.labels, c.start, c.positive_class, c.truth, c.prediction;

-- name: lapwing_cell_groups
-- What `lapwing_cells` says of each segment and window as a whole. `cells` is the name of a CTE with them.
CREATE TEMP MACRO lapwing_cell_groups(cells) AS TABLE
SELECT
    c.labels,
    c.start,
    c.positive_class,
    coalesce(sum(c.predictions) FILTER (c.truth IS NOT NULL), 0) / sum(c.predictions) AS label_coverage,
    lapwing_ratio(sum(c.mature), sum(c.dated)) AS label_maturity,
    coalesce(sum(c.n) FILTER (c.truth IS NOT NULL AND c.prediction IS NOT NULL), 0) AS n,
    coalesce(sum(c.w) FILTER (c.truth IS NOT NULL AND c.prediction IS NOT NULL), 0) AS w,
    coalesce(sum(c.w2) FILTER (c.truth IS NOT NULL AND c.prediction IS NOT NULL), 0) AS w2
FROM query_table(cells) AS c
GROUP BY c.labels, c.start, c.positive_class;

-- name: lapwing_ratio_of_counts
-- A metric that is a quotient of the counts of a class: true and false positives, false and true negatives, times
-- their factors in `hit`, by the same times those in `whole`. `behind` is how many rows it rests on, `rows` how
-- many of equal weight tell as much.
CREATE TEMP MACRO lapwing_ratio_of_counts(hit, whole, n, w, w2) AS
{
    'share': lapwing_ratio(
        w.tp * hit.tp + w.fp * hit.fp + w.fn * hit.fn + w.tn * hit.tn,
        w.tp * whole.tp + w.fp * whole.fp + w.fn * whole.fn + w.tn * whole.tn
    ),
    'whole': w.tp * whole.tp + w.fp * whole.fp + w.fn * whole.fn + w.tn * whole.tn,
    'behind': if(whole.tp > 0, n.tp, 0) + if(whole.fp > 0, n.fp, 0) + if(whole.fn > 0, n.fn, 0)
        + if(whole.tn > 0, n.tn, 0),
    'rows': lapwing_kish(
        if(whole.tp > 0, w.tp, 0) + if(whole.fp > 0, w.fp, 0) + if(whole.fn > 0, w.fn, 0)
            + if(whole.tn > 0, w.tn, 0),
        if(whole.tp > 0, w2.tp, 0) + if(whole.fp > 0, w2.fp, 0) + if(whole.fn > 0, w2.fn, 0)
            + if(whole.tn > 0, w2.tn, 0)
    )
};

-- name: lapwing_slopes
-- How much a ratio of counts grows with the weight of each count.
CREATE TEMP MACRO lapwing_slopes(share, whole_weight, hit, whole) AS
{
    'tp': lapwing_ratio(hit.tp - share * whole.tp, whole_weight),
    'fp': lapwing_ratio(hit.fp - share * whole.fp, whole_weight),
    'fn': lapwing_ratio(hit.fn - share * whole.fn, whole_weight),
    'tn': lapwing_ratio(hit.tn - share * whole.tn, whole_weight)
};

-- name: lapwing_by_role
-- Sums of a class by the role of its rows. Aggregates.
CREATE TEMP MACRO lapwing_by_role(role, x) AS
{
    'tp': coalesce(sum(x) FILTER (role = 'tp'), 0),
    'fp': coalesce(sum(x) FILTER (role = 'fp'), 0),
    'fn': coalesce(sum(x) FILTER (role = 'fn'), 0)
};

-- name: lapwing_with_rest
-- The three counts of a class and what is left of the total: nothing where no row is, whatever sums of weights say.
CREATE TEMP MACRO lapwing_with_rest(counts, total, n, all_n) AS
{
    'tp': counts.tp, 'fp': counts.fp, 'fn': counts.fn,
    'tn': if(all_n > n.tp + n.fp + n.fn, greatest(total - counts.tp - counts.fp - counts.fn, 0), 0)
};

-- name: lapwing_class_counts
-- The four counts of each class, as rows `n`, weight `w` and squared weight `w2`, by segment and window; `seen`
-- tells classes of labelled predictions from others. `cells` and `groups` are names of CTEs.
CREATE TEMP MACRO lapwing_class_counts(cells, groups) AS TABLE
WITH roles AS (
    SELECT
        c.labels, c.start, c.truth AS class, if(c.truth = c.prediction, 'tp', 'fn') AS role, c.n, c.w, c.w2
    FROM query_table(cells) AS c
    WHERE c.truth IS NOT NULL AND c.prediction IS NOT NULL AND c.n > 0
    UNION ALL
    SELECT c.labels, c.start, c.prediction, 'fp', c.n, c.w, c.w2
    FROM query_table(cells) AS c
    WHERE c.truth <> c.prediction AND c.n > 0
    UNION ALL
    SELECT c.labels, c.start, unnest([c.truth, c.prediction, c.positive_class]), 'none', 0, 0.0, 0.0
    FROM query_table(cells) AS c
),
by_class AS (
    SELECT
        r.labels,
        r.start,
        r.class,
        sum(r.n) AS seen,
        lapwing_by_role(r.role, r.n) AS n,
        lapwing_by_role(r.role, r.w) AS w,
        lapwing_by_role(r.role, r.w2) AS w2
    FROM roles AS r
    WHERE r.class IS NOT NULL
    GROUP BY r.labels, r.start, r.class
)
SELECT
    b.labels,
    b.start,
    b.class,
    b.seen > 0 AS seen,
    lapwing_with_rest(b.n, g.n, b.n, g.n) AS n,
    lapwing_with_rest(b.w, g.w, b.n, g.n) AS w,
    lapwing_with_rest(b.w2, g.w2, b.n, g.n) AS w2
FROM by_class AS b JOIN query_table(groups) AS g ON b.labels = g.labels AND b.start = g.start;

-- name: lapwing_class_metric
-- A ratio of counts by class, or one for all classes. Its variance is that of the delta method: the squared weight
-- of each cell of the table of true and predicted classes, times how much the value grows with the cell's weight.
CREATE TEMP MACRO lapwing_class_metric(
    model, since, until, segments, every, as_of, stage, weights, confidence, threshold, average, hit, whole
) AS TABLE
WITH cells AS (
    FROM lapwing_cells(model, since, until, segments, every, as_of, stage, weights, threshold)
),
groups AS (
    SELECT g.*, lapwing_average(average, g.positive_class) AS averaging FROM lapwing_cell_groups('cells') AS g
),
counts AS (
    SELECT
        c.*,
        g.averaging,
        g.positive_class,
        lapwing_ratio_of_counts(hit, whole, c.n, c.w, c.w2) AS ratio
    FROM lapwing_class_counts('cells', 'groups') AS c
    JOIN groups AS g ON c.labels = g.labels AND c.start = g.start
),
singles AS (
    SELECT c.*, lapwing_slopes(c.ratio.share, c.ratio.whole, hit, whole) AS slopes
    FROM counts AS c
    WHERE c.averaging = 'none' OR (c.averaging = 'binary' AND c.class = c.positive_class)
),
parts AS (
    SELECT
        c.labels,
        c.start,
        c.class,
        c.ratio.share AS share,
        c.ratio.rows AS rows,
        c.averaging = 'micro' AS micro,
        CASE c.averaging
            WHEN 'macro' THEN 1.0 / count(*) OVER same
            WHEN 'micro' THEN lapwing_ratio(c.ratio.whole, sum(c.ratio.whole) OVER same)
            ELSE lapwing_ratio(c.w.tp + c.w.fn, sum(c.w.tp + c.w.fn) OVER same)
        END AS part,
        if(c.averaging = 'micro', sum(c.ratio.whole) OVER same, c.ratio.whole) AS whole_weight,
        if(c.averaging = 'weighted', lapwing_ratio(1, sum(c.w.tp + c.w.fn) OVER same), 0.0) AS moves
    FROM counts AS c
    WHERE c.averaging IN ('macro', 'micro', 'weighted') AND c.seen AND c.ratio.share IS NOT NULL
    WINDOW same AS (PARTITION BY c.labels, c.start)
),
averaged AS (
    SELECT p.*, sum(p.part * p.share) OVER (PARTITION BY p.labels, p.start) AS average FROM parts AS p
),
sloped AS (
    SELECT
        a.*,
        if(a.micro, 1.0, a.part) AS factor,
        lapwing_slopes(if(a.micro, a.average, a.share), a.whole_weight, hit, whole) AS slopes
    FROM averaged AS a
),
moved AS (
    SELECT
        s.labels,
        s.start,
        s.class,
        s.factor * s.slopes.tp AS tp,
        s.factor * s.slopes.fp AS fp,
        s.factor * s.slopes.fn AS fn,
        s.factor * s.slopes.tn AS tn,
        s.moves * (s.share - s.average) AS support
    FROM sloped AS s
),
elsewhere AS (
    SELECT m.labels, m.start, sum(m.tn) AS tn FROM moved AS m GROUP BY m.labels, m.start
),
variances AS (
    SELECT
        c.labels,
        c.start,
        sum(
            c.w2 * (
                e.tn + coalesce(t.support, 0)
                + if(c.truth = c.prediction, coalesce(t.tp - t.tn, 0),
                    coalesce(t.fn - t.tn, 0) + coalesce(p.fp - p.tn, 0))
            ) ** 2
        ) AS variance
    FROM cells AS c
    JOIN elsewhere AS e ON c.labels = e.labels AND c.start = e.start
    LEFT JOIN moved AS t ON c.labels = t.labels AND c.start = t.start AND c.truth = t.class
    LEFT JOIN moved AS p ON c.labels = p.labels AND c.start = p.start AND c.prediction = p.class
    WHERE c.truth IS NOT NULL AND c.prediction IS NOT NULL
    GROUP BY c.labels, c.start
),
averages AS (
    SELECT a.labels, a.start, any_value(a.average) AS average, min(a.rows) AS rows
    FROM averaged AS a
    WHERE a.part > 0
    GROUP BY a.labels, a.start
),
found AS (
    SELECT
        s.labels,
        s.start,
        s.class,
        s.ratio.share AS share,
        s.ratio.rows AS rows,
        s.ratio.behind AS behind,
        s.w2.tp * s.slopes.tp ** 2 + s.w2.fp * s.slopes.fp ** 2 + s.w2.fn * s.slopes.fn ** 2
            + s.w2.tn * s.slopes.tn ** 2 AS variance
    FROM singles AS s
    UNION ALL
    SELECT g.labels, g.start, NULL, a.average, a.rows, g.n, v.variance
    FROM groups AS g
    LEFT JOIN averages AS a ON g.labels = a.labels AND g.start = a.start
    LEFT JOIN variances AS v ON g.labels = v.labels AND g.start = v.start
    WHERE g.averaging IN ('macro', 'micro', 'weighted')
),
bounded AS (
    SELECT f.*, lapwing_share_by_error(f.share, f.variance, f.rows, confidence) AS interval FROM found AS f
)
SELECT
    b.labels,
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.class,
    b.share AS value,
    b.interval.low,
    b.interval.high,
    b.behind::BIGINT AS sample_count,
    g.label_coverage,
    g.label_maturity
FROM bounded AS b JOIN groups AS g ON b.labels = g.labels AND b.start = g.start;

-- name: lapwing_class_scores
-- A row per prediction and class that it has a score for: the positive class alone where there is one.
CREATE TEMP MACRO lapwing_class_scores(model, since, until, segments, every, as_of, stage, weights) AS TABLE
WITH classified AS (
    FROM lapwing_classified(model, since, until, segments, every, as_of, stage, weights)
),
scored AS (
    SELECT
        c.* EXCLUDE (prediction, score, scores),
        c.positive_class AS class,
        c.score
    FROM classified AS c
    WHERE c.positive_class IS NOT NULL
    UNION ALL
    SELECT
        c.* EXCLUDE (prediction, score, scores),
        unnest(map_keys(c.scores)) AS class,
        unnest(map_values(c.scores)) AS score
    FROM classified AS c
    WHERE c.positive_class IS NULL
)
SELECT
    s.*,
    s.truth = s.class AS positive,
    s.score IS NOT NULL AND NOT isnan(s.score) AND s.truth IS NOT NULL AND s.w IS NOT NULL AS counts
FROM scored AS s;

-- name: lapwing_ladders
-- Each class that rows have scores for, with the totals of its rows and its `levels`: the distinct scores from the
-- highest down, with the weights of its true (`pos`) and other (`neg`) rows, their squares, and sums from the top.
CREATE TEMP MACRO lapwing_ladders(model, since, until, segments, every, as_of, stage, weights) AS TABLE
WITH grouped AS (
    SELECT
        s.labels,
        s.start,
        s.class,
        any_value(s.positive_class) AS positive_class,
        lapwing_coverage(s.truth) AS label_coverage,
        lapwing_maturity(s.mature) AS label_maturity,
        count(*) FILTER (s.counts) AS n,
        count(*) FILTER (s.counts AND s.positive) AS pos_n,
        count(*) FILTER (s.counts AND NOT s.positive) AS neg_n,
        lapwing_levels(
            coalesce(list(s.score) FILTER (s.counts), []),
            coalesce(list(if(s.positive, s.w, 0.0)) FILTER (s.counts), []),
            coalesce(list(if(s.positive, 0.0, s.w)) FILTER (s.counts), [])
        ) AS levels
    FROM lapwing_class_scores(model, since, until, segments, every, as_of, stage, weights) AS s
    GROUP BY s.labels, s.start, s.class
)
SELECT
    row_number() OVER () AS key,
    g.*,
    coalesce(g.levels.pos_from[-1], 0) AS pos_all,
    coalesce(g.levels.neg_from[-1], 0) AS neg_all,
    list_sum(g.levels.pos2) AS pos2_all,
    list_sum(g.levels.neg2) AS neg2_all
FROM grouped AS g;

-- name: lapwing_freedom
-- Degrees of freedom of a sum of two variances that were estimated from so many rows (Welch, 1947; Satterthwaite, 1946).
CREATE TEMP MACRO lapwing_freedom(variance, n, other_variance, other_n) AS
lapwing_ratio(
    (variance + other_variance) ** 2,
    lapwing_ratio(variance ** 2, n - 1) + lapwing_ratio(other_variance ** 2, other_n - 1)
);

-- name: lapwing_area_variance
-- The variance of an area by itself (Hanley and McNeil, 1982), with both terms for as many rows as the mean of `m` and `n`
-- (Newcombe, 2006), so that it is the same from either side.
CREATE TEMP MACRO lapwing_area_variance(area, m, n) AS
lapwing_ratio(
    area * (1 - area) * (1 + ((m + n) / 2 - 1) * ((1 - area) / (2 - area) + area / (1 + area))), m * n
);

-- name: lapwing_area_error
-- The standard error of an area for an interval with the normal distribution that is as wide as with Student's t. The
-- variances of the placements, of so many rows each, are drawn towards what the area says by itself, as if five more
-- rows of the rarer kind told that: of few rows they are often far too small. NULL if confidence is 0.
CREATE TEMP MACRO lapwing_area_error(
    area, pos_variance, pos_n, pos_rows, neg_variance, neg_n, neg_rows, confidence
) AS
list_transform(
    [{
        'rows': least(pos_rows, neg_rows) + 0 * area,
        'variance': pos_variance + neg_variance,
        'alone': lapwing_area_variance(area, pos_rows, neg_rows),
        't': lapwing_t_quantile(
            (1 + confidence::DOUBLE) / 2,
            coalesce(lapwing_freedom(pos_variance, pos_n, neg_variance, neg_n), 0) + 5
        ),
        'z': lapwing_two_sided_z(confidence)
    }],
    lambda of: sqrt((of.rows * coalesce(of.variance, of.alone) + 5 * of.alone) / (of.rows + 5)) * of.t / of.z
)[1];

-- name: lapwing_logit_by_error
-- Interval of a share with a standard error on the scale of log odds; at 0 and 1, Wilson's for `rows` rows.
CREATE TEMP MACRO lapwing_logit_by_error(share, error, rows, confidence) AS
CASE
    WHEN share > 0 AND share < 1 AND error > 0 THEN {
        'low': 1 / (1 + (1 - share) / share * exp(lapwing_two_sided_z(confidence) * error / (share * (1 - share)))),
        'high': 1 / (1 + (1 - share) / share * exp(-lapwing_two_sided_z(confidence) * error / (share * (1 - share))))
    }
    ELSE lapwing_wilson(share * rows, rows, confidence)
END;

-- name: lapwing_steps
-- The levels of classes, one a row; `key` tells the class. `ladders` is the name of a CTE.
CREATE TEMP MACRO lapwing_steps(ladders) AS TABLE
SELECT
    l.key,
    l.pos_all,
    l.neg_all,
    len(l.levels.score) AS ranks,
    generate_subscripts(l.levels.score, 1) AS rank,
    unnest(l.levels.score) AS score,
    unnest(l.levels.pos) AS pos,
    unnest(l.levels.neg) AS neg,
    unnest(l.levels.pos2) AS pos2,
    unnest(l.levels.neg2) AS neg2,
    unnest(l.levels.pos_from) AS pos_from,
    unnest(l.levels.neg_from) AS neg_from
FROM query_table(ladders) AS l;

-- name: lapwing_classes
-- Classes without their levels. `ladders` is the name of a CTE.
CREATE TEMP MACRO lapwing_classes(ladders) AS TABLE
SELECT l.* EXCLUDE (levels) FROM query_table(ladders) AS l;

-- name: lapwing_averaged
-- Values of classes, or one for all of them. `found` is the name of a CTE with a row per segment, window and class:
-- share, error (standard), rows (of equal weight that tell as much), n, pos_all. The error of an average is that
-- of errors that go together, the largest there can be. The interval has the form `wilson` or `logit`.
CREATE TEMP MACRO lapwing_averaged(found, average, every, since, until, confidence, form) AS TABLE
WITH parts AS (
    SELECT
        f.*,
        if(lapwing_average_of_scores(average) = 'none', f.class, f.positive_class) AS shown,
        if(average = 'weighted', f.pos_all, 1.0) AS part
    FROM query_table(found) AS f
),
joined AS (
    SELECT
        p.labels,
        p.start,
        p.shown AS class,
        lapwing_ratio(sum(p.part * p.share), sum(p.part) FILTER (p.share IS NOT NULL)) AS share,
        lapwing_ratio(sum(p.part * p.error), sum(p.part) FILTER (p.share IS NOT NULL)) AS error,
        min(p.rows) FILTER (p.share IS NOT NULL) AS rows,
        max(p.n) AS n,
        max(p.label_coverage) AS label_coverage,
        max(p.label_maturity) AS label_maturity
    FROM parts AS p
    GROUP BY p.labels, p.start, p.shown
),
bounded AS (
    SELECT
        j.*,
        CASE
            WHEN form = 'logit' THEN lapwing_logit_by_error(j.share, j.error, j.rows, confidence)
            ELSE lapwing_share_by_error(j.share, j.error ** 2, j.rows, confidence)
        END AS interval
    FROM joined AS j
)
SELECT
    unnest(b.labels),
    b.start AS window_start,
    lapwing_window_end(every, b.start, since, until) AS window_end,
    b.class,
    b.share AS value,
    b.interval.low,
    b.interval.high,
    b.n AS sample_count,
    b.label_coverage,
    b.label_maturity
FROM bounded AS b
ORDER BY ALL;

-- name: lapwing_curve
-- At most `points` of the levels of each class, evenly spread by rank, the last among them, with what holds for the
-- class. `ladders` is the name of a CTE.
CREATE TEMP MACRO lapwing_curve(ladders, points) AS TABLE
SELECT c.*, s.score, s.pos_from, s.neg_from
FROM lapwing_steps(ladders) AS s JOIN lapwing_classes(ladders) AS c ON s.key = c.key
WHERE points::BIGINT IS NULL OR s.rank * points // s.ranks > (s.rank - 1) * points // s.ranks;

-- name: lapwing_gains
-- Share of the true rows of each class that are among the share `top` of its rows with the highest scores, for
-- each of a list of those.
CREATE TEMP MACRO lapwing_gains(model, since, until, segments, every, as_of, stage, weights, tops) AS TABLE
WITH ladders AS (
    FROM lapwing_ladders(model, since, until, segments, every, as_of, stage, weights)
),
levels AS (
    SELECT s.key, s.pos, s.neg, s.pos_from, s.pos_from + s.neg_from - s.pos - s.neg AS before
    FROM lapwing_steps('ladders') AS s
),
asked AS (
    SELECT DISTINCT unnest(tops::DOUBLE[]) AS top
),
classes AS (
    SELECT c.*, a.top, a.top * (c.pos_all + c.neg_all) AS room
    FROM lapwing_classes('ladders') AS c CROSS JOIN asked AS a
)
SELECT
    c.*,
    lapwing_ratio(
        l.pos_from - l.pos + l.pos * least(lapwing_ratio(c.room - l.before, l.pos + l.neg), 1), c.pos_all
    ) AS share,
    lapwing_kish(c.pos_all, c.pos2_all) AS rows,
    sqrt(lapwing_ratio(share * (1 - share), rows)) AS error
FROM classes AS c ASOF LEFT JOIN levels AS l ON c.key = l.key AND c.room >= l.before;

-- name: lapwing_calibration_bins
-- Mean score and share of true rows by bins of the score for each class; a class without labels has one row.
CREATE TEMP MACRO lapwing_calibration_bins(
    model, since, until, segments, every, as_of, stage, weights, bins
) AS TABLE
WITH scores AS (
    SELECT s.*, s.counts AND s.score BETWEEN 0 AND 1 AS probable
    FROM lapwing_class_scores(model, since, until, segments, every, as_of, stage, weights) AS s
),
edged AS (
    SELECT
        s.*,
        CASE WHEN s.probable THEN greatest(ceil(s.score * bins), 1)::INTEGER END AS near,
        CASE WHEN near > 1 AND s.score <= (near - 1) / bins THEN near - 1 ELSE near END AS bin
    FROM scores AS s
),
classes AS (
    SELECT
        e.labels,
        e.start,
        e.class,
        any_value(e.positive_class) AS positive_class,
        lapwing_coverage(e.truth) AS label_coverage,
        lapwing_maturity(e.mature) AS label_maturity
    FROM edged AS e
    GROUP BY e.labels, e.start, e.class
),
binned AS (
    SELECT
        e.labels,
        e.start,
        e.class,
        e.bin,
        sum(e.w) AS w,
        lapwing_ratio(sum(e.w * e.score), sum(e.w)) AS predicted,
        lapwing_ratio(sum(e.w * e.positive::INTEGER), sum(e.w)) AS observed,
        lapwing_kish(sum(e.w), sum(e.w * e.w)) AS rows,
        count(*) AS n
    FROM edged AS e
    WHERE e.probable
    GROUP BY e.labels, e.start, e.class, e.bin
)
SELECT
    c.*,
    (b.bin - 1) / bins AS bin_start,
    b.bin / bins AS bin_end,
    coalesce(b.n, 0) AS n,
    b.* EXCLUDE (labels, start, class, n)
FROM classes AS c
LEFT JOIN binned AS b ON c.labels = b.labels AND c.start = b.start AND c.class = b.class;
