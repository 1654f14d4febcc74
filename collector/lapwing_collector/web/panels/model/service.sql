-- title: Service
-- about: Calls, errors and latency, counted by hour; of two versions beside each other where two are chosen.
-- parameter versus: a second version
SELECT window_start AS time, version, value AS predictions, error_share, p50, p90, p95, p99
FROM service_profile('{table}', $start, $to, every := $step::INTERVAL, by_version := $version IS NOT NULL)
WHERE $version IS NULL OR version = $version OR version = $versus
ORDER BY ALL
