-- title: Recorded
-- about: What a rule that records has computed, as it is known now.
-- parameter metric: its name
-- step: rows
SELECT
    window_start AS time,
    coalesce(nullif(array_to_string(list_transform(list_filter(map_entries(series), lambda e: e.key <> 'model'), lambda e: e.key || '=' || e.value), ', '), ''), 'all') AS series,
    value, sample_count, label_coverage
FROM metric_values_latest
WHERE metric = $metric AND (model = $model OR model IS NULL) AND window_start >= $start AND window_start < $to
ORDER BY ALL
