WITH failed AS (
    FROM error_rate(
        '{table}', $from - ($to - $from), $to, every := $to - $from,
        segments := {'version': CASE WHEN $version IS NULL THEN 'all' ELSE coalesce(version, '') END}
    )
),
slow AS (
    SELECT
        window_start, version, max(value) FILTER (quantile = '0.5') AS p50,
        max(value) FILTER (quantile = '0.95') AS p95
    FROM latency_quantiles(
        '{table}', $from - ($to - $from), $to, every := $to - $from, quantiles := [0.5, 0.95],
        segments := {'version': CASE WHEN $version IS NULL THEN 'all' ELSE coalesce(version, '') END}
    )
    GROUP BY ALL
)
SELECT
    f.window_start >= $from AS is_now, f.sample_count AS predictions, f.value AS error_share, s.p50, s.p95
FROM failed AS f
LEFT JOIN slow AS s USING (window_start, version)
WHERE $version IS NULL OR f.version = $version
ORDER BY ALL
