-- title: Distribution
-- about: How the values of a field are distributed in this range of time, beside a reference where there is one; in fewer bins
--   than profiles have.
-- parameter field: which, as output.score
-- parameter reference: the name of the reference; the newest of the role drift unless told
WITH bins AS (
    SELECT binning_id, kind, edges, categories, greatest(1, ceil((len(edges) - 1) / 16))::BIGINT AS together
    FROM binnings
    WHERE table_name = $table AND field = $field AND created_from <> 'segments'
    ORDER BY created_at DESC, binning_id
    LIMIT 1
),
named AS (
    SELECT s.reference, s.version
    FROM reference_sets AS s
    WHERE s.table_name = $table AND s.policy IS NULL
        AND CASE WHEN $reference IS NULL THEN s.role = 'drift' ELSE s.reference = $reference END
    ORDER BY s.created_at DESC, s.version DESC
    LIMIT 1
),
told AS (
    SELECT false AS was, p.counts
    FROM profiles AS p
    JOIN bins AS b USING (binning_id)
    WHERE p.table_name = $table AND p.field = $field AND p.segment = '' AND p.stage = 'production'
        AND p.time >= $start AND p.time < $to AND ($version IS NULL OR p.version = $version)
    UNION ALL
    SELECT true, r.counts
    FROM reference_bins AS r
    JOIN bins AS b USING (binning_id)
    JOIN named AS n ON r.reference = n.reference AND r.version = n.version
    WHERE r.table_name = $table AND r.field = $field
),
each_bin AS (
    SELECT was, bin, sum(n)::BIGINT AS n
    FROM (SELECT was, unnest(counts) AS n, generate_subscripts(counts, 1) AS bin FROM told)
    GROUP BY ALL
),
placed AS (
    SELECT
        e.was, e.n,
        CASE
            WHEN e.bin = 1 THEN 1000000
            WHEN e.bin = 2 THEN 999999
            WHEN b.kind = 'category' THEN e.bin
            WHEN e.bin = 3 THEN 0
            WHEN e.bin >= len(b.edges) + 3 THEN 999998
            ELSE 1 + (e.bin - 4) // b.together
        END AS place
    FROM each_bin AS e
    CROSS JOIN bins AS b
),
added AS (
    SELECT
        place,
        coalesce(sum(n) FILTER (NOT was), 0)::BIGINT AS rows,
        coalesce(sum(n) FILTER (was), 0)::BIGINT AS reference_rows
    FROM placed
    GROUP BY place
),
shares AS (
    SELECT
        *,
        rows / nullif(sum(rows) OVER (), 0) AS share,
        reference_rows / nullif(sum(reference_rows) OVER (), 0) AS reference_share
    FROM added
)
SELECT
    CASE
        WHEN s.place = 1000000 THEN 'missing'
        WHEN s.place = 999999 THEN 'other'
        WHEN b.kind = 'category' THEN b.categories[s.place - 2]
        WHEN s.place = 0 THEN format('< {:.4g}', b.edges[1])
        WHEN s.place = 999998 THEN format('> {:.4g}', b.edges[-1])
        ELSE format(
            '{:.4g} – {:.4g}', b.edges[(s.place - 1) * b.together + 1],
            b.edges[least(s.place * b.together + 1, len(b.edges))]
        )
    END AS value,
    s.share, s.reference_share, s.rows, s.reference_rows
FROM shares AS s
CROSS JOIN bins AS b
WHERE s.rows + s.reference_rows > 0
QUALIFY b.kind <> 'category' OR row_number() OVER (ORDER BY greatest(s.share, s.reference_share) DESC, s.place) <= 24
ORDER BY CASE WHEN b.kind = 'category' AND s.place < 999999 THEN 0 ELSE s.place END, s.share DESC
