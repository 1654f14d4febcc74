SELECT window_start AS time, version, value AS mean, sample_count
FROM numeric_summary(
    '{table}', $start, $to, every := $step::INTERVAL, fields := [$field], quantiles := [],
    segments := {'version': CASE WHEN $version IS NULL THEN 'all' ELSE coalesce(version, '') END}
)
WHERE statistic = 'mean' AND ($version IS NULL OR version = $version OR version = $versus)
ORDER BY ALL
