-- title: Predictions
-- about: How many predictions came in each step of time, by version; counted by hour, as profiles are.
-- parameter versus: a second version
SELECT
    time_bucket($step::INTERVAL, time, $start) AS time,
    coalesce(version, '') AS version,
    sum(list_sum(counts))::BIGINT AS predictions
FROM profiles
WHERE table_name = $table AND field = 'duration_ms' AND segment = '' AND stage = 'production'
    AND time >= $start AND time < $to AND ($version IS NULL OR version = $version OR version = $versus)
GROUP BY ALL
ORDER BY ALL
