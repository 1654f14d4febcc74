-- title: Mean and median
-- about: Mean and median of a number by hours. The median is as exact as its bins are: it lies somewhere in one of 64, or is the
--   lower end of one where there are fewer, as these mostly stand for one number each.
-- parameter field: which, as output.score
-- parameter stage: of which predictions; production unless told
SELECT window_start AS time, value AS mean, median, sample_count AS predictions
FROM number_profile(
    '{table}', $start, $to, fields := $field, every := $step::INTERVAL, stage := coalesce($stage, 'production'),
    version := $version
)
WHERE field = $field AND segment = ''
ORDER BY window_start
