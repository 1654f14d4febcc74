-- name: prediction_count
-- group: traffic
-- needs:
-- summary: How many predictions were made, each counted with its sampling weight.
-- formula: sum(w)
-- source: counted; `sample_count` is the number of rows that were kept
-- example: FROM prediction_count('churn', $window_start, $window_end, segments := {'version': version})
CREATE TEMP MACRO prediction_count(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production'
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        coalesce(weight, 1.0) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    lapwing_window_end(every, c.start, since, until) AS window_end,
    sum(c.w) AS value,
    count(*) AS sample_count
FROM chosen AS c
GROUP BY c.labels, c.start
ORDER BY ALL;

-- name: prediction_rate
-- group: traffic
-- needs:
-- summary: Predictions per second.
-- formula: sum(w) / seconds of the window
-- source: counted, each with its sampling weight
-- example: FROM prediction_rate('churn', $window_start, $window_end, every := INTERVAL 1 MINUTE)
CREATE TEMP MACRO prediction_rate(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production'
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        coalesce(weight, 1.0) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT
        c.labels,
        c.start AS window_start,
        lapwing_window_end(every, c.start, since, until) AS window_end,
        sum(c.w) AS w,
        count(*) AS sample_count
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
SELECT
    unnest(s.labels),
    s.window_start,
    s.window_end,
    lapwing_ratio(s.w, epoch(s.window_end - s.window_start)) AS value,
    s.sample_count
FROM sums AS s
ORDER BY ALL;

-- name: error_rate
-- group: traffic
-- needs:
-- summary: Share of calls that ended with an error.
-- formula: sum(w * [error_type is not null]) / sum(w)
-- source: interval: Wilson (1927) on the effective number of rows
-- example: FROM error_rate('churn', $window_start, $window_end, segments := {'version': version})
CREATE TEMP MACRO error_rate(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        (error_type IS NOT NULL)::INTEGER AS hit,
        coalesce(weight, 1.0) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    FROM lapwing_weighted_counts('chosen')
)
FROM lapwing_effective_share_of('counts', every, since, until, confidence);

-- name: fallback_rate
-- group: traffic
-- needs:
-- summary: Share of calls that a fallback answered.
-- formula: sum(w * [fallback]) / sum(w), where a call that does not say is none
-- source: interval: Wilson (1927) on the effective number of rows
-- example: FROM fallback_rate('churn', $window_start, $window_end, every := INTERVAL 1 HOUR)
CREATE TEMP MACRO fallback_rate(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        coalesce(fallback, false)::INTEGER AS hit,
        coalesce(weight, 1.0) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    FROM lapwing_weighted_counts('chosen')
)
FROM lapwing_effective_share_of('counts', every, since, until, confidence);

-- name: traffic_share
-- group: traffic
-- needs:
-- summary: Which version, variant or model answered which share of a segment's calls.
-- formula: sum(w) of a part / sum(w) of its segment and window
-- source: interval: Wilson (1927) on the effective number of rows
-- parameter parts: STRUCT of label columns that tell the parts apart, as `segments`
-- example: FROM traffic_share('churn', $window_start, $window_end, {'variant': variant, 'fallback': fallback})
CREATE TEMP MACRO traffic_share(
    model, since, until, parts, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        parts AS part,
        lapwing_window_start(every, time, since) AS start,
        coalesce(weight, 1.0) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.part, c.start, sum(c.w) AS w, sum(c.w * c.w) AS squares, count(*) AS n
    FROM chosen AS c
    GROUP BY c.labels, c.part, c.start
),
shares AS (
    SELECT
        s.*,
        lapwing_ratio(s.w, sum(s.w) OVER whole) AS share,
        lapwing_ratio((sum(s.w) OVER whole) * (sum(s.w) OVER whole), sum(s.squares) OVER whole) AS effective,
        sum(s.n) OVER whole AS sample_count
    FROM sums AS s
    WINDOW whole AS (PARTITION BY s.labels, s.start)
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    unnest(s.part),
    s.share AS value,
    lapwing_wilson(s.share * s.effective, s.effective, confidence).low AS low,
    lapwing_wilson(s.share * s.effective, s.effective, confidence).high AS high,
    s.sample_count::BIGINT AS sample_count
FROM shares AS s
ORDER BY ALL;

-- name: latency_mean
-- group: traffic
-- needs:
-- summary: Mean duration of calls in milliseconds.
-- formula: sum(w * duration_ms) / sum(w) over calls that tell their duration
-- source: interval: normal, with the standard error on the effective number of rows
-- example: FROM latency_mean('churn', $window_start, $window_end, every := INTERVAL 5 MINUTES)
CREATE TEMP MACRO latency_mean(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        lapwing_number(duration_ms) AS ms,
        CASE WHEN isfinite(duration_ms) THEN coalesce(weight, 1.0) END AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT
        c.labels,
        c.start,
        lapwing_ratio(sum(c.w * c.ms), sum(c.w)) AS mean,
        lapwing_ratio(sum(c.w * c.ms * c.ms), sum(c.w)) AS mean_square,
        lapwing_effective_count(c.w) AS effective,
        count(c.ms) AS sample_count
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
errors AS (
    SELECT
        s.*,
        sqrt(lapwing_ratio(greatest(s.mean_square - s.mean * s.mean, 0) + 0 * s.mean, s.effective - 1)) AS error
    FROM sums AS s
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    s.mean AS value,
    lapwing_normal(s.mean, s.error, confidence).low AS low,
    lapwing_normal(s.mean, s.error, confidence).high AS high,
    s.sample_count
FROM errors AS s
ORDER BY ALL;

-- name: latency_quantiles
-- group: traffic
-- needs:
-- summary: Quantiles of the duration of calls, in milliseconds.
-- formula: quantile_cont(duration_ms, q), each row counted once, over calls that tell their duration
-- source: numpy.quantile, method linear
-- parameter quantiles: which quantiles, as shares
-- example: FROM latency_quantiles('churn', $window_start, $window_end, quantiles := [0.5, 0.99])
CREATE TEMP MACRO latency_quantiles(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    quantiles := [0.5, 0.9, 0.95, 0.99]
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        lapwing_number(duration_ms) AS ms
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, quantile_cont(c.ms, quantiles) AS found, count(c.ms) AS sample_count
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_quantile AS (
    SELECT s.*, unnest(range(1, len(quantiles) + 1)) AS place FROM sums AS s
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    lapwing_quantile_name(quantiles[s.place]) AS quantile,
    s.found[s.place] AS value,
    s.sample_count
FROM each_quantile AS s
ORDER BY ALL;

-- name: arrival_delay_quantiles
-- group: traffic
-- needs:
-- summary: Quantiles of how long after it was made a prediction came in, in seconds.
-- formula: quantile_cont(received_at - time, q), each row counted once
-- source: numpy.quantile, method linear
-- parameter quantiles: which quantiles, as shares
-- example: FROM arrival_delay_quantiles('churn', $window_start, $window_end)
CREATE TEMP MACRO arrival_delay_quantiles(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    quantiles := [0.5, 0.9, 0.99]
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        epoch(received_at - time) AS seconds
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, quantile_cont(c.seconds, quantiles) AS found, count(c.seconds) AS sample_count
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_quantile AS (
    SELECT s.*, unnest(range(1, len(quantiles) + 1)) AS place FROM sums AS s
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    lapwing_quantile_name(quantiles[s.place]) AS quantile,
    s.found[s.place] AS value,
    s.sample_count
FROM each_quantile AS s
ORDER BY ALL;

-- name: label_coverage
-- group: traffic
-- needs: truth
-- summary: Share of predictions whose truth is known, and of those that are old enough for it.
-- formula: predictions with a label / predictions; `label_maturity`: [time + label_delay <= now] / predictions
-- source: interval: Wilson (1927)
-- example: FROM label_coverage('churn', $window_start, $window_end, every := INTERVAL 1 DAY)
CREATE TEMP MACRO label_coverage(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        truth,
        mature
    FROM lapwing_labeled(model, since, until, as_of, stage)
),
sums AS (
    SELECT
        c.labels,
        c.start,
        count(c.truth) AS known,
        count(*) AS sample_count,
        lapwing_maturity(c.mature) AS label_maturity
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    lapwing_ratio(s.known, s.sample_count) AS value,
    lapwing_wilson(s.known, s.sample_count, confidence).low AS low,
    lapwing_wilson(s.known, s.sample_count, confidence).high AS high,
    s.sample_count,
    lapwing_ratio(s.known, s.sample_count) AS label_coverage,
    s.label_maturity
FROM sums AS s
ORDER BY ALL;

-- name: label_delay_quantiles
-- group: traffic
-- needs: truth
-- summary: Quantiles of how long after a prediction its truth became known, in seconds.
-- formula: quantile_cont(time of the label - time, q) over predictions with a label, each row counted once
-- source: numpy.quantile, method linear
-- parameter quantiles: which quantiles, as shares
-- example: FROM label_delay_quantiles('churn', $window_start, $window_end, quantiles := [0.5, 0.95])
CREATE TEMP MACRO label_delay_quantiles(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    quantiles := [0.5, 0.9, 0.99]
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        epoch(truth_time - time) AS seconds,
        truth,
        mature
    FROM lapwing_labeled(model, since, until, as_of, stage)
),
sums AS (
    SELECT
        c.labels,
        c.start,
        quantile_cont(c.seconds, quantiles) AS found,
        count(c.seconds) AS sample_count,
        lapwing_coverage(c.truth) AS label_coverage,
        lapwing_maturity(c.mature) AS label_maturity
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_quantile AS (
    SELECT s.*, unnest(range(1, len(quantiles) + 1)) AS place FROM sums AS s
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    lapwing_quantile_name(quantiles[s.place]) AS quantile,
    s.found[s.place] AS value,
    s.sample_count,
    s.label_coverage,
    s.label_maturity
FROM each_quantile AS s
ORDER BY ALL;

-- name: missing_records
-- group: traffic
-- needs:
-- summary: How many records the SDK processes that sent a model's predictions have numbered and that never came, as far as
--   that was noticed in the window: they were dropped, or lost on the way.
-- formula: per process what was missing at the end of the window - at its start, not below 0; summed. A process that serves
--   several models, or is in several segments, counts in each
-- source: the numbers that `lapwing.sequence` gives the records of a process, as the table `record_losses` has them.
--   `lossy_processes`: how many processes miss some; what came too late for the window is taken off in a later one
-- example: FROM missing_records('churn', $window_start, $window_end, segments := {'service': service})
CREATE TEMP MACRO missing_records(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production'
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        resource['lapwing.process.id'] AS process
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
processes AS (
    SELECT c.labels, c.start, lapwing_window_end(every, c.start, since, until) AS finish, c.process, count(*) AS n
    FROM chosen AS c
    GROUP BY ALL
),
known AS (
    SELECT l.process_id, l.seen_at, l.missing
    FROM query_table('record_losses' || left(model, 0)) AS l
    WHERE as_of IS NULL OR l.observed_at <= as_of::TIMESTAMP
    QUALIFY row_number() OVER (PARTITION BY l.process_id, l.seen_at ORDER BY l.observed_at DESC) = 1
),
earlier AS (
    SELECT p.*, coalesce(k.missing, 0) AS missing_before
    FROM processes AS p ASOF LEFT JOIN known AS k ON p.process = k.process_id AND p.start > k.seen_at
),
changed AS (
    SELECT e.*, greatest(coalesce(k.missing, 0) - e.missing_before, 0) AS missing
    FROM earlier AS e ASOF LEFT JOIN known AS k ON e.process = k.process_id AND e.finish > k.seen_at
)
SELECT
    unnest(c.labels),
    c.start AS window_start,
    c.finish AS window_end,
    sum(c.missing)::DOUBLE AS value,
    count(*) FILTER (c.missing > 0) AS lossy_processes,
    sum(c.n)::BIGINT AS sample_count
FROM changed AS c
GROUP BY c.labels, c.start, c.finish
ORDER BY ALL;

-- name: service_profile
-- group: traffic
-- needs:
-- summary: Calls, errors and latency per window from counts by hour, which are there however many predictions there were and
--   however long ago.
-- formula: value = calls; error_share = calls with an error / calls; p50 … p99: the duration that this share of calls stays below,
--   between the edges of its bin on a logarithmic scale
-- source: counts of the profile. A bin of durations is 26 % wide, so a quantile is off by less than that. Each row counts once,
--   whatever its sampling weight; a window takes the hours that begin in it
-- parameter by_version: whether each version is told apart
-- parameter by_segment: a field by which counts are kept, `inputs.plan`: each of its values is told apart
-- parameter version: the calls of this version alone
-- example: FROM service_profile('churn', $window_start, $window_end, every := INTERVAL 1 DAY, by_version := true)
CREATE TEMP MACRO service_profile(
    model, since, until, every := NULL, stage := 'production', by_version := false, by_segment := NULL,
    version := NULL
) AS TABLE
WITH counted AS (
    SELECT
        CASE
            WHEN by_segment IS NOT NULL THEN p.segment[len(by_segment::VARCHAR) + 2:]
            WHEN by_version THEN coalesce(p.version, '')
            ELSE 'all'
        END AS label,
        lapwing_window_start(every, p.time, since) AS start,
        p.field,
        p.counts
    FROM lapwing_own_table('profiles', model) AS p
    -- The range lets DuckDB pass over most fields: profiles are ordered by them.
    WHERE lower(p.table_name) = lower(model) AND p.field IN ('duration_ms', 'error_type')
        AND p.field BETWEEN 'duration_ms' AND 'error_type'
        AND CASE
            WHEN by_segment IS NULL THEN p.segment = ''
            ELSE starts_with(p.segment, by_segment::VARCHAR || '=')
        END
        AND p.time >= since::TIMESTAMP AND p.time < until::TIMESTAMP
        AND (stage IS NULL OR p.stage = stage)
        AND (version IS NULL OR p.version = version)
),
added AS (
    SELECT
        c.label,
        c.start,
        sum(list_sum(c.counts)) FILTER (c.field = 'duration_ms') AS timed,
        sum(list_sum(c.counts)) FILTER (c.field = 'error_type') AS calls,
        sum(c.counts[2]) FILTER (c.field = 'error_type') AS failed,
        list(c.counts[3:]) FILTER (c.field = 'duration_ms') AS durations
    FROM counted AS c
    GROUP BY c.label, c.start
),
placed AS (
    SELECT a.*, lapwing_bin_quantiles(a.durations, e.edges, [0.5, 0.9, 0.95, 0.99]) AS found
    FROM added AS a
    CROSS JOIN (
        SELECT any_value(b.edges) AS edges FROM lapwing_own_table('binnings', model) AS b WHERE b.binning_id = 'duration'
    ) AS e
)
SELECT
    CASE WHEN by_segment IS NULL THEN p.label END AS version,
    CASE WHEN by_segment IS NOT NULL THEN p.label END AS segment,
    p.start AS window_start,
    lapwing_window_end(every, p.start, since, until) AS window_end,
    coalesce(p.calls, p.timed)::DOUBLE AS value,
    lapwing_ratio(p.failed, p.calls) AS error_share,
    p.found[1] AS p50, p.found[2] AS p90, p.found[3] AS p95, p.found[4] AS p99,
    coalesce(p.calls, p.timed)::BIGINT AS sample_count
FROM placed AS p
ORDER BY ALL;
