-- title: Mean
-- about: The mean of a number that the model brings or is given, by hours.
-- parameter field: which, as output.score
-- parameter versus: a second version
SELECT
    time_bucket($step::INTERVAL, time, $start) AS time,
    CASE WHEN $version IS NULL THEN 'all' ELSE coalesce(version, '') END AS version,
    sum(sum) / nullif(sum(list_sum(counts) - counts[1] - counts[2]), 0) AS mean,
    sum(list_sum(counts) - counts[1] - counts[2])::BIGINT AS sample_count
FROM profiles
WHERE table_name = $table AND field = $field AND segment = '' AND stage = 'production'
    AND time >= $start AND time < $to
    AND ($version IS NULL OR version = $version OR version = $versus)
GROUP BY ALL
ORDER BY ALL
