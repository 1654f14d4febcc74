-- title: Mean and median
-- about: Mean and median of a number by hours. The median is as exact as its bins are: it lies somewhere in one of 64, or is the
--   lower end of one where there are fewer, as these mostly stand for one number each.
-- parameter field: which, as output.score
-- parameter stage: of which predictions; production unless told
WITH hours AS MATERIALIZED (
    SELECT time_bucket($step::INTERVAL, p.time, $start) AS time, p.counts, p.sum, p.minimum, p.maximum, b.edges
    FROM profiles AS p
    JOIN (
        SELECT DISTINCT binning_id, edges FROM binnings
        WHERE table_name = $table AND field = $field AND kind = 'number'
    ) AS b USING (binning_id)
    WHERE p.table_name = $table AND p.field = $field AND p.segment = '' AND p.stage = coalesce($stage, 'production')
        AND p.time >= $start AND p.time < $to AND ($version IS NULL OR p.version = $version)
),
ranges AS (
    SELECT time, edges, place, sum(n) AS n, min(minimum) AS minimum, max(maximum) AS maximum
    FROM (
        SELECT time, edges, minimum, maximum, unnest(counts[3:]) AS n, generate_subscripts(counts[3:], 1) AS place
        FROM hours
    )
    WHERE n > 0
    GROUP BY ALL
),
edged AS (
    SELECT
        time, len(edges) < 65 AS alone, n,
        CASE WHEN place = 1 THEN minimum ELSE edges[place - 1] END AS lower,
        CASE WHEN place > len(edges) THEN maximum ELSE edges[place] END AS upper
    FROM ranges
),
placed AS (
    SELECT
        *, sum(n) OVER (PARTITION BY time) AS known,
        sum(n) OVER (PARTITION BY time ORDER BY lower, upper ROWS UNBOUNDED PRECEDING) AS upto
    FROM edged
),
middle AS (
    SELECT
        time,
        min(CASE WHEN alone THEN lower ELSE lower + (upper - lower) * ((known / 2 - (upto - n)) / n)::DOUBLE END) AS median
    FROM placed
    WHERE upto >= known / 2 AND upto - n < known / 2
    GROUP BY time
)
SELECT h.time, h.total / nullif(h.predictions, 0) AS mean, m.median, h.predictions::BIGINT AS predictions
FROM (
    SELECT time, sum(sum) AS total, sum(list_sum(counts) - counts[1] - counts[2]) AS predictions
    FROM hours
    GROUP BY time
) AS h
LEFT JOIN middle AS m USING (time)
ORDER BY h.time
