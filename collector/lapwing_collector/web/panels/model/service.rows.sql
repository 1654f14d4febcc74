WITH failed AS (
    FROM error_rate(
        '{table}', $start, $to, every := $step::INTERVAL,
        segments := {'version': CASE WHEN $version IS NULL THEN 'all' ELSE coalesce(version, '') END}
    )
),
slow AS (
    SELECT
        window_start, version,
        max(value) FILTER (quantile = '0.5') AS p50,
        max(value) FILTER (quantile = '0.9') AS p90,
        max(value) FILTER (quantile = '0.95') AS p95,
        max(value) FILTER (quantile = '0.99') AS p99
    FROM latency_quantiles(
        '{table}', $start, $to, every := $step::INTERVAL,
        segments := {'version': CASE WHEN $version IS NULL THEN 'all' ELSE coalesce(version, '') END}
    )
    GROUP BY ALL
)
SELECT
    f.window_start AS time, f.version, f.sample_count AS predictions, f.value AS error_share,
    s.p50, s.p90, s.p95, s.p99
FROM failed AS f
LEFT JOIN slow AS s USING (window_start, version)
WHERE $version IS NULL OR f.version = $version OR f.version = $versus
ORDER BY ALL
