SELECT
    time_bucket($step::INTERVAL, time, $start) AS time,
    coalesce(version, '') AS version,
    count(*) AS predictions
FROM predictions."{table}"
WHERE time >= $start AND time < $to AND ($version IS NULL OR version = $version OR version = $versus)
GROUP BY ALL
ORDER BY ALL
