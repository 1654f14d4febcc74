-- name: precision_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Share of the first k places that hold a relevant item, on average over the lists.
-- formula: mean of (relevant items among the first k) / k; places that a short list leaves empty count as misses
-- source: P_k of trec_eval; interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM precision_at_k('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO precision_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH rows AS (
    SELECT r.*, lapwing_ratio(lapwing_hits(r.gains), coalesce(k, len(r.top))) AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: recall_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Share of the relevant items that are among the first k, on average over the lists.
-- formula: mean of (relevant items among the first k) / (relevant items); lists for which nothing is relevant do
--   not count
-- source: recall_k of trec_eval; interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM recall_at_k('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO recall_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH rows AS (
    SELECT r.*, lapwing_ratio(lapwing_hits(r.gains), r.relevant) AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: f_beta_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Precision and recall of the first k in one number, on average over the lists.
-- formula: mean of (1 + beta²) * p * r / (beta² * p + r), 0 where both are 0; lists for which nothing is relevant
--   do not count
-- source: van Rijsbergen (1979); interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter beta: how much more recall counts than precision, 1
-- example: FROM f_beta_at_k('search', $window_start, $window_end, k := 5, beta := 2.0)
CREATE TEMP MACRO f_beta_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10, beta := 1.0
) AS TABLE
WITH rows AS (
    SELECT r.*, CASE WHEN r.relevant > 0 AND coalesce(k, len(r.top)) > 0 THEN lapwing_number(
        (1 + beta ** 2) * lapwing_hits(r.gains) / (beta ** 2 * r.relevant + coalesce(k, len(r.top)))
    ) END AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: ndcg_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: How near the order of the first k is to the best one, with relevance in degrees, on average over the
--   lists.
-- formula: mean of DCG / DCG of the best list, DCG = sum over ranks i of gain / log2(i + 1); lists for which
--   nothing is relevant do not count
-- source: sklearn.metrics.ndcg_score; Järvelin and Kekäläinen (2002), exponential: Burges et al. (2005); interval:
--   normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter gain: linear, the relevance itself, or exponential, 2^relevance - 1; linear
-- example: FROM ndcg_at_k('search', $window_start, $window_end, gain := 'exponential')
CREATE TEMP MACRO ndcg_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10, gain := 'linear'
) AS TABLE
WITH rows AS (
    SELECT r.*, CASE WHEN r.gains IS NOT NULL THEN lapwing_ratio(
        lapwing_dcg(r.gains, gain), lapwing_dcg(r.ideal, gain)
    ) END AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: dcg_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Relevance of the first k, each discounted by its rank, on average over the lists.
-- formula: mean of the sum over ranks i of gain / log2(i + 1)
-- source: sklearn.metrics.dcg_score; interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter gain: linear, the relevance itself, or exponential, 2^relevance - 1; linear
-- example: FROM dcg_at_k('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO dcg_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10, gain := 'linear'
) AS TABLE
WITH rows AS (
    SELECT r.*, CASE WHEN r.gains IS NOT NULL THEN lapwing_dcg(r.gains, gain) END AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: cg_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Cumulative gain: relevance of the first k, whatever their order, on average over the lists.
-- formula: mean of the sum of the relevance of the first k items
-- source: Järvelin and Kekäläinen (2002); interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM cg_at_k('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO cg_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH rows AS (
    SELECT r.*, CASE WHEN r.gains IS NOT NULL THEN coalesce(list_sum(r.gains), 0.0) END AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: lift_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: How many times more of the first k places hold a relevant item than if items were drawn at random, on average
--   over the lists.
-- formula: mean of ((relevant items among the first k) / k) / ((relevant items) / (items of the catalogue)); lists for
--   which nothing is relevant do not count
-- source: precision over prevalence; interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter catalogue: how many items there are; NULL: as many as were listed or relevant in the span
-- example: FROM lift_at_k('search', $window_start, $window_end, k := 5, catalogue := 20000)
CREATE TEMP MACRO lift_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10, catalogue := NULL
) AS TABLE
WITH rows AS (
    SELECT
        r.*,
        lapwing_ratio(
            lapwing_hits(r.gains) * lapwing_catalogue(model, since, until, as_of, stage, catalogue),
            coalesce(k, len(r.top)) * r.relevant
        ) AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: mar_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Mean average recall: recall at each relevant item of the first k, on average over those, then over the lists.
-- formula: mean of sum over relevant ranks i of (relevant among the first i) / (relevant items), divided by the relevant
--   items among the first k, 0 where there is none; lists for which nothing is relevant do not count
-- source: Evidently's MAR at k; interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM mar_at_k('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO mar_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH rows AS (
    -- Of n relevant items the recalls are 1, 2, …, n of all: their mean is that of the first and the last.
    SELECT r.*, CASE
        WHEN r.relevant > 0 AND lapwing_hits(r.gains) = 0 THEN 0.0
        ELSE lapwing_ratio((lapwing_hits(r.gains) + 1) / 2, r.relevant)
    END AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: map_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Mean average precision: precision at each relevant item of the first k, over those that could be there,
--   on average over the lists.
-- formula: mean of sum over relevant ranks i of (relevant among the first i) / i, divided by min(k, relevant
--   items); lists for which nothing is relevant do not count
-- source: sklearn.metrics.label_ranking_average_precision_score where all items are listed; interval: normal, by
--   the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM map_at_k('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO map_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH rows AS (
    SELECT r.*, lapwing_ratio(
        coalesce(list_sum(list_transform(
            r.gains, lambda gain, place: CASE WHEN gain > 0 THEN lapwing_hits(r.gains[1:place]) / place ELSE 0 END
        )), 0),
        CASE WHEN r.gains IS NOT NULL THEN least(coalesce(k, r.relevant), r.relevant) END
    ) AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: mrr
-- group: ranking
-- needs: ranking, items, truth
-- summary: Mean reciprocal rank: 1 where the first item is relevant, a half where the second is the first that is,
--   0 where none of the first k is.
-- formula: mean of 1 / (rank of the first relevant item)
-- source: recip_rank of trec_eval (Voorhees, 1999); interval: normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM mrr('search', $window_start, $window_end, k := NULL)
CREATE TEMP MACRO mrr(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH rows AS (
    SELECT r.*, CASE WHEN r.gains IS NOT NULL THEN coalesce(
        list_max(list_transform(r.gains, lambda gain, place: CASE WHEN gain > 0 THEN 1.0 / place ELSE 0.0 END)), 0.0
    ) END AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: hit_rate_at_k
-- group: ranking
-- needs: ranking, items, truth
-- summary: Share of the lists that have at least one relevant item among the first k.
-- formula: sum(w * [some of the first k is relevant]) / sum(w)
-- source: success_k of trec_eval; interval: Wilson (1927) on the effective number of rows
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM hit_rate_at_k('search', $window_start, $window_end, k := 5, segments := {'country': tags['country']})
CREATE TEMP MACRO hit_rate_at_k(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH rows AS (
    SELECT r.*, (lapwing_hits(r.gains) > 0)::INTEGER AS hit
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
),
known AS (
    SELECT
        r.labels,
        r.start,
        lapwing_coverage(r.truth) AS label_coverage,
        lapwing_maturity(r.mature) AS label_maturity
    FROM rows AS r
    GROUP BY r.labels, r.start
),
counts AS (
    SELECT c.*, k.label_coverage, k.label_maturity
    FROM lapwing_weighted_counts('rows') AS c JOIN known AS k ON c.labels = k.labels AND c.start = k.start
)
SELECT s.* EXCLUDE (label_coverage, label_maturity), s.label_coverage, s.label_maturity
FROM lapwing_effective_share_of('counts', every, since, until, confidence) AS s;

-- name: serendipity
-- group: ranking
-- needs: ranking, items, truth
-- summary: Share of the first k places that hold a relevant item which is not among the most popular: what
--   popularity alone would not have found.
-- formula: mean of (relevant items among the first k that are not among the k most popular) / k
-- source: Ge, Delgado-Battenfeld and Jannach (2010), with popularity as the primitive recommender; interval:
--   normal, by the standard error of the mean
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter popular_since: since when relevance tells what is popular, the span itself
-- parameter popular_until: until when
-- example: FROM serendipity('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO serendipity(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    weights := 1, confidence := 0.95, k := 10, popular_since := NULL, popular_until := NULL
) AS TABLE
WITH popular AS (
    SELECT coalesce(list(q.item ORDER BY q.popularity DESC, q.item), [])[1:coalesce(k, 10)] AS items
    FROM lapwing_popular(
        model, coalesce(popular_since, since), coalesce(popular_until, until), as_of, stage
    ) AS q
),
rows AS (
    SELECT r.*, lapwing_ratio(
        lapwing_hits(list_transform(
            r.gains, lambda gain, place: CASE WHEN list_contains(p.items, r.top[place]) THEN 0 ELSE gain END
        )),
        coalesce(k, len(r.top))
    ) AS x
    FROM lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS r
    CROSS JOIN popular AS p
)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0);

-- name: item_coverage
-- group: ranking
-- needs: ranking, items
-- summary: Share of the items that are among the first k of some list.
-- formula: distinct items listed / items
-- source: Ge, Delgado-Battenfeld and Jannach (2010): catalogue coverage
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter catalogue: how many items there are; those that were listed or relevant in the span if NULL
-- example: FROM item_coverage('search', $window_start, $window_end, catalogue := 12000)
CREATE TEMP MACRO item_coverage(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    k := 10, catalogue := NULL
) AS TABLE
WITH counts AS (
    SELECT l.labels, l.start, any_value(l.lists) AS lists, l.item, count(*) AS n
    FROM lapwing_listed(model, since, until, segments, every, as_of, stage, k) AS l
    GROUP BY l.labels, l.start, l.item
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_ratio(count(*), lapwing_catalogue(model, since, until, as_of, stage, catalogue)) AS value,
    any_value(c.lists) AS sample_count
FROM counts AS c
GROUP BY c.labels, c.start
ORDER BY ALL;

-- name: item_concentration
-- group: ranking
-- needs: ranking, items
-- summary: How unevenly the first k places go to the items that are listed: 0 if all are listed as often, near 1
--   if one takes all.
-- formula: Gini coefficient of how often each item is listed
-- source: Gini (1912)
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM item_concentration('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO item_concentration(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    k := 10
) AS TABLE
WITH counts AS (
    SELECT l.labels, l.start, any_value(l.lists) AS lists, l.item, count(*) AS n
    FROM lapwing_listed(model, since, until, segments, every, as_of, stage, k) AS l
    GROUP BY l.labels, l.start, l.item
),
ranked AS (
    SELECT c.*, row_number() OVER (PARTITION BY c.labels, c.start ORDER BY c.n) AS rank FROM counts AS c
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    lapwing_ratio(2 * sum(c.rank * c.n), count(*) * sum(c.n)) - (count(*) + 1) / count(*) AS value,
    any_value(c.lists) AS sample_count
FROM ranked AS c
GROUP BY c.labels, c.start
ORDER BY ALL;

-- name: personalization
-- group: ranking
-- needs: ranking, items
-- summary: How different the lists are from each other: 0 if all hold the same items, 1 if no two share one.
-- formula: 1 - mean over pairs of lists of (items in both) / k
-- source: with lists of k items, 1 - the mean cosine similarity of lists as vectors of items
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM personalization('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO personalization(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    k := 10
) AS TABLE
WITH counts AS (
    SELECT l.labels, l.start, any_value(l.lists) AS lists, l.item, count(*) AS n
    FROM lapwing_listed(model, since, until, segments, every, as_of, stage, k) AS l
    GROUP BY l.labels, l.start, l.item
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    1 - lapwing_ratio(sum(c.n * (c.n - 1)), any_value(c.lists) * (any_value(c.lists) - 1) * coalesce(k, sum(c.n) / any_value(c.lists))) AS value,
    any_value(c.lists) AS sample_count
FROM counts AS c
GROUP BY c.labels, c.start
ORDER BY ALL;

-- name: popularity_bias
-- group: ranking
-- needs: ranking, items, truth
-- summary: How popular the items among the first k are, on average: the share of labelled lists for which each was
--   relevant.
-- formula: mean over items listed of (lists for which the item was relevant) / (labelled lists)
-- source: average recommendation popularity: Abdollahpouri, Burke and Mobasher (2019)
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter popular_since: since when relevance tells what is popular, the span itself
-- parameter popular_until: until when
-- example: FROM popularity_bias('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO popularity_bias(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    k := 10, popular_since := NULL, popular_until := NULL
) AS TABLE
WITH listed AS (
    SELECT l.* FROM lapwing_listed(model, since, until, segments, every, as_of, stage, k) AS l
),
popular AS (
    SELECT p.* FROM lapwing_popular(
        model, coalesce(popular_since, since), coalesce(popular_until, until), as_of, stage
    ) AS p
),
counts AS (
    SELECT l.labels, l.start, l.lists, coalesce(p.popularity, 0) AS popularity
    FROM listed AS l LEFT JOIN popular AS p ON l.item = p.item
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    avg(c.popularity) AS value,
    any_value(c.lists) AS sample_count
FROM counts AS c
GROUP BY c.labels, c.start
ORDER BY ALL;

-- name: novelty
-- group: ranking
-- needs: ranking, items, truth
-- summary: How surprising the items among the first k are, in bits: an item that is relevant for a quarter of the
--   lists has 2.
-- formula: mean over items listed of -log2(popularity); an item that was never relevant counts as one that was once
-- source: Zhou et al. (2010)
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- parameter popular_since: since when relevance tells what is popular, the span itself
-- parameter popular_until: until when
-- example: FROM novelty('search', $window_start, $window_end, k := 5)
CREATE TEMP MACRO novelty(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    k := 10, popular_since := NULL, popular_until := NULL
) AS TABLE
WITH listed AS (
    SELECT l.* FROM lapwing_listed(model, since, until, segments, every, as_of, stage, k) AS l
),
popular AS (
    SELECT p.* FROM lapwing_popular(
        model, coalesce(popular_since, since), coalesce(popular_until, until), as_of, stage
    ) AS p
),
once AS (
    SELECT lapwing_ratio(1, count(t.truth)) AS once
    FROM lapwing_labeled(
        model, coalesce(popular_since, since), coalesce(popular_until, until), as_of, stage
    ) AS t
),
counts AS (
    SELECT l.labels, l.start, l.lists, coalesce(p.popularity, o.once) AS popularity
    FROM listed AS l LEFT JOIN popular AS p ON l.item = p.item
    CROSS JOIN once AS o
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    avg(-log2(c.popularity)) AS value,
    any_value(c.lists) AS sample_count
FROM counts AS c
GROUP BY c.labels, c.start
ORDER BY ALL;

-- name: diversity
-- group: ranking
-- needs: ranking, items
-- summary: How different the items of one list are from each other, on average over pairs and lists.
-- formula: mean over lists of the mean over pairs among the first k of [kinds differ], or of 1 - cosine similarity
--   of vectors
-- source: Ziegler et al. (2005): intra-list distance; interval: normal, by the standard error of the mean
-- parameter kinds: a list as long as the items with what each is: a text (its genre), or a list of numbers (its
--   embedding)
-- parameter k: how many items of the top of each list count, 10; NULL for all
-- example: FROM diversity('search', $window_start, $window_end, kinds := output.genres, k := 5)
CREATE TEMP MACRO diversity(
    model, since, until, kinds, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', weights := 1, confidence := 0.95, k := 10
) AS TABLE
WITH lists AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, p.time, since) AS start,
        lapwing_weight(p.weight, weights) AS w,
        kinds[1:coalesce(k, len(kinds))] AS kinds_of_top
    FROM lapwing_predictions(model, since, until, as_of, stage) AS p
),
rows AS (
    SELECT
        l.labels,
        l.start,
        l.w,
        NULL AS truth,
        NULL::BOOLEAN AS mature,
        lapwing_ratio(
            list_sum(list_transform(
                l.kinds_of_top,
                lambda one, place: coalesce(list_sum(list_transform(
                    l.kinds_of_top[place + 1:], lambda other: lapwing_difference(one, other)
                )), 0)
            )),
            len(l.kinds_of_top) * (len(l.kinds_of_top) - 1) / 2
        ) AS x
    FROM lists AS l
)
SELECT m.* EXCLUDE (label_coverage, label_maturity)
FROM lapwing_mean_of('rows', every, since, until, confidence, 0) AS m
ORDER BY ALL;
