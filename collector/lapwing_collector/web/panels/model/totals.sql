-- title: In all
-- about: What the whole range of time adds up to, beside the one before.
SELECT
    window_start >= $start AS is_now, sum(value)::BIGINT AS predictions, any_value(error_share) AS error_share,
    any_value(p50) AS p50, any_value(p95) AS p95
FROM service_profile(
    '{table}', $start - ($to - $start), $to, every := $to - $start, by_version := $version IS NOT NULL
)
WHERE $version IS NULL OR version = $version
GROUP BY ALL
ORDER BY ALL
