-- title: Mean and median
-- about: Mean and median of a number by hours. The median is as exact as its bins are: it lies somewhere in one of 64, or is the
--   lower end of one where there are fewer, as these mostly stand for one number each.
-- parameter field: which, as output.score
-- parameter stage: of which predictions; production unless told
WITH bins AS (
    SELECT DISTINCT
        binning_id, len(edges) AS number, generate_subscripts([NULL] || edges, 1) AS place,
        unnest([NULL] || edges) AS lower, unnest(edges || [NULL]) AS upper
    FROM binnings
    WHERE table_name = $table AND field = $field AND kind = 'number'
),
hours AS MATERIALIZED (
    SELECT time_bucket($step::INTERVAL, time, $start) AS time, binning_id, counts, sum, minimum, maximum
    FROM profiles
    WHERE table_name = $table AND field = $field AND segment = '' AND stage = coalesce($stage, 'production')
        AND time >= $start AND time < $to AND ($version IS NULL OR version = $version)
        AND binning_id IN (SELECT binning_id FROM bins)
),
ranges AS (
    SELECT time, binning_id, place, sum(n) AS n, min(minimum) AS minimum, max(maximum) AS maximum
    FROM (
        SELECT
            time, binning_id, minimum, maximum, unnest(counts[3:]) AS n, generate_subscripts(counts[3:], 1) AS place
        FROM hours
    )
    WHERE n > 0
    GROUP BY ALL
),
edged AS (
    SELECT
        r.time, b.number < 65 AS alone, r.n,
        coalesce(b.lower, r.minimum) AS lower, coalesce(b.upper, r.maximum) AS upper
    FROM ranges AS r
    JOIN bins AS b ON b.binning_id = r.binning_id AND b.place = r.place
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
