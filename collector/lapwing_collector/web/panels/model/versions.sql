-- title: Versions
-- about: Each version that answered in this range of time, by counts of hours.
SELECT
    p.version, m.first_seen, p.value::BIGINT AS predictions, p.value / sum(p.value) OVER () AS traffic,
    p.error_share, p.p50, p.p95, p.p99
FROM service_profile('{table}', $start, $to, by_version := true) AS p
LEFT JOIN (
    SELECT coalesce(version, '') AS version, min(first_seen) AS first_seen
    FROM models
    WHERE table_name = $table
    GROUP BY ALL
) AS m USING (version)
ORDER BY m.first_seen DESC
