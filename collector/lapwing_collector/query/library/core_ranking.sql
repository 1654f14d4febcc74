-- Pieces of the metrics of rankings.

-- name: lapwing_ranked
-- Ranked lists with what is known of them: `top`, the first `k` items (all if NULL); `gains`, the relevance of
--   each of
-- them, 0 where none is known and where an item is listed again; `ideal`, the gains of the best list there could be;
-- `relevant`, how many items are.
CREATE TEMP MACRO lapwing_ranked(model, since, until, segments, every, as_of, stage, weights, k) AS TABLE
WITH lists AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        lapwing_weight(weight, weights) AS w,
        truth,
        mature,
        items[1:coalesce(k, len(items))] AS top,
        list_reverse_sort(list_filter(map_values(truth), lambda gain: gain > 0 AND isfinite(gain))) AS best
    FROM lapwing_labeled(model, since, until, as_of, stage)
)
SELECT
    l.labels,
    l.start,
    CASE WHEN l.w > 0 AND isfinite(l.w) THEN l.w END AS w,
    l.truth,
    l.mature,
    l.top,
    CASE WHEN l.truth IS NOT NULL THEN list_transform(
        l.top,
        lambda item, place: CASE
            WHEN list_position(l.top, item) = place AND l.truth[item] > 0 AND isfinite(l.truth[item])
            THEN l.truth[item] ELSE 0.0
        END
    ) END AS gains,
    l.best[1:coalesce(k, len(l.best))] AS ideal,
    len(l.best) AS relevant
FROM lists AS l;

-- name: lapwing_dcg
-- Gains, each discounted by its rank: the first counts whole, the third half.
CREATE TEMP MACRO lapwing_dcg(gains, growth) AS
coalesce(
    list_sum(list_transform(
        gains,
        lambda gain, place: CASE
            WHEN growth = 'linear' THEN gain
            WHEN growth = 'exponential' THEN 2 ** gain - 1
            ELSE error('gain is linear or exponential, and not ' || growth)
        END / log2(place + 1)
    )),
    0.0
);

-- name: lapwing_hits
-- How many of these gains are above 0.
CREATE TEMP MACRO lapwing_hits(gains) AS len(list_filter(gains, lambda gain: gain > 0));

-- name: lapwing_listed
-- Items of the first `k` places of every list, each once a list, with segment and window; `lists` counts the lists.
CREATE TEMP MACRO lapwing_listed(model, since, until, segments, every, as_of, stage, k) AS TABLE
WITH lists AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        list_distinct(items[1:coalesce(k, len(items))]) AS top
    FROM lapwing_predictions(model, since, until, as_of, stage)
    WHERE items IS NOT NULL
),
counted AS (
    SELECT l.*, count(*) OVER (PARTITION BY l.labels, l.start) AS lists FROM lists AS l
)
SELECT c.labels, c.start, c.lists, unnest(c.top) AS item FROM counted AS c;

-- name: lapwing_popular
-- Share of the labelled lists between two times for which an item was relevant, by item.
CREATE TEMP MACRO lapwing_popular(model, since, until, as_of, stage) AS TABLE
WITH wanted AS (
    SELECT truth FROM lapwing_labeled(model, since, until, as_of, stage) WHERE truth IS NOT NULL
),
each AS (
    SELECT unnest(map_entries(w.truth)) AS entry FROM wanted AS w
)
SELECT e.entry.key AS item, count(*) / (SELECT count(*) FROM wanted) AS popularity
FROM each AS e
WHERE e.entry.value > 0
GROUP BY ALL;

-- name: lapwing_catalogue
-- How many items there are: as told, or as were listed or relevant in the span.
CREATE TEMP MACRO lapwing_catalogue(model, since, until, as_of, stage, catalogue) AS
coalesce(
    catalogue::BIGINT,
    (
        WITH seen AS (
            SELECT unnest(items) AS item FROM lapwing_predictions(model, since, until, as_of, stage)
            UNION ALL
            SELECT unnest(map_keys(truth)) FROM lapwing_labeled(model, since, until, as_of, stage)
        )
        SELECT count(DISTINCT s.item) FROM seen AS s
    )
);

-- name: lapwing_difference
-- How different two items are: 0 or 1 for texts, 1 - cosine similarity for lists of numbers.
CREATE TEMP MACRO lapwing_difference(one, other) AS
CASE
    WHEN typeof(one) LIKE '%[]' THEN 1 - list_cosine_similarity(
        TRY_CAST(one::VARCHAR AS DOUBLE[]), TRY_CAST(other::VARCHAR AS DOUBLE[])
    )
    ELSE (one IS DISTINCT FROM other)::INTEGER
END;
