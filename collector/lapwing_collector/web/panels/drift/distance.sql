-- title: Distance from the reference
-- about: Jensen-Shannon distance of a field in each step of time, from counts in bins that do not move. 0 is equal shares,
--   0.83 none in common; from 0.1 on it counts as drift.
-- parameter field: which, as inputs.age
-- parameter reference: the name of the reference; the newest of the role drift unless told
SELECT window_start AS time, field, value AS distance, effect_size, sample_count, reason
FROM js_distance(
    '{table}', $start, $to, reference := $reference, fields := $field,
    every := greatest($step::INTERVAL, INTERVAL 1 HOUR)
)
ORDER BY ALL
