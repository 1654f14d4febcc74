-- title: Fields
-- about: What the fields of this range of time are like, by their bins, beside a reference.
-- parameter reference: the name of the reference; the newest of the role drift unless told
WITH bins AS (
    SELECT field, arg_max(binning_id, (created_at, binning_id)) AS binning_id
    FROM binnings
    WHERE table_name = $table AND created_from <> 'segments'
    GROUP BY field
),
named AS (
    SELECT s.reference, s.version
    FROM reference_sets AS s
    WHERE s.table_name = $table AND s.policy IS NULL
        AND CASE WHEN $reference IS NULL THEN s.role = 'drift' ELSE s.reference = $reference END
    ORDER BY s.created_at DESC, s.version DESC
    LIMIT 1
),
seen AS (
    SELECT
        p.field, sum(list_sum(p.counts)) AS rows, sum(p.counts[1]) AS missing, sum(p.counts[2]) AS other,
        sum(p.sum) AS total, min(p.minimum) AS least, max(p.maximum) AS most
    FROM profiles AS p
    JOIN bins AS b ON b.binning_id = p.binning_id AND b.field = p.field
    WHERE p.table_name = $table AND p.segment = '' AND p.stage = 'production'
        AND p.time >= $start AND p.time < $to AND ($version IS NULL OR p.version = $version)
    GROUP BY p.field
)
SELECT
    s.field,
    s.rows::BIGINT AS rows,
    s.missing / nullif(s.rows, 0) AS missing,
    r.counts[1] / nullif(list_sum(r.counts), 0) AS missing_in_reference,
    s.other / nullif(s.rows, 0) AS in_no_bin,
    CASE WHEN s.least IS NOT NULL THEN s.total / nullif(s.rows - s.missing - s.other, 0) END AS mean,
    CASE
        WHEN r.minimum IS NOT NULL THEN r.sum / nullif(list_sum(r.counts) - r.counts[1] - r.counts[2], 0)
    END AS mean_in_reference,
    s.least, s.most
FROM seen AS s
LEFT JOIN (SELECT b.* FROM reference_bins AS b JOIN named AS n ON b.reference = n.reference AND b.version = n.version WHERE b.table_name = $table) AS r
    ON r.field = s.field
ORDER BY s.field
