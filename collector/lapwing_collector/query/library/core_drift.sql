-- Pieces of the metrics of drift: counts of a span and of a reference in the same bins, samples of two sides,
-- and what is computed of either.

-- name: lapwing_total
-- Counts added up place by place, as many as the longest binning has. Aggregates. Written out, because for 1 000
-- fields x 168 hours that takes 0.11 s of CPU, lists through NumPy 0.35 s, unnest and GROUP BY 0.37 s, list_reduce 0.55 s.
CREATE TEMP MACRO lapwing_total(counts) AS
[
    sum(counts[1]), sum(counts[2]), sum(counts[3]), sum(counts[4]), sum(counts[5]), sum(counts[6]),
    sum(counts[7]), sum(counts[8]), sum(counts[9]), sum(counts[10]), sum(counts[11]), sum(counts[12]),
    sum(counts[13]), sum(counts[14]), sum(counts[15]), sum(counts[16]), sum(counts[17]), sum(counts[18]),
    sum(counts[19]), sum(counts[20]), sum(counts[21]), sum(counts[22]), sum(counts[23]), sum(counts[24]),
    sum(counts[25]), sum(counts[26]), sum(counts[27]), sum(counts[28]), sum(counts[29]), sum(counts[30]),
    sum(counts[31]), sum(counts[32]), sum(counts[33]), sum(counts[34]), sum(counts[35]), sum(counts[36]),
    sum(counts[37]), sum(counts[38]), sum(counts[39]), sum(counts[40]), sum(counts[41]), sum(counts[42]),
    sum(counts[43]), sum(counts[44]), sum(counts[45]), sum(counts[46]), sum(counts[47]), sum(counts[48]),
    sum(counts[49]), sum(counts[50]), sum(counts[51]), sum(counts[52]), sum(counts[53]), sum(counts[54]),
    sum(counts[55]), sum(counts[56]), sum(counts[57]), sum(counts[58]), sum(counts[59]), sum(counts[60]),
    sum(counts[61]), sum(counts[62]), sum(counts[63]), sum(counts[64]), sum(counts[65]), sum(counts[66]),
    sum(counts[67]), sum(counts[68]), sum(counts[69]), sum(counts[70]), sum(counts[71]), sum(counts[72]),
    sum(counts[73]), sum(counts[74]), sum(counts[75]), sum(counts[76]), sum(counts[77]), sum(counts[78]),
    sum(counts[79]), sum(counts[80]), sum(counts[81]), sum(counts[82]), sum(counts[83]), sum(counts[84]),
    sum(counts[85]), sum(counts[86]), sum(counts[87]), sum(counts[88]), sum(counts[89]), sum(counts[90]),
    sum(counts[91]), sum(counts[92]), sum(counts[93]), sum(counts[94]), sum(counts[95]), sum(counts[96]),
    sum(counts[97]), sum(counts[98]), sum(counts[99]), sum(counts[100]), sum(counts[101]), sum(counts[102]),
    sum(counts[103]), sum(counts[104])
][:max(len(counts))]::BIGINT[];

-- name: lapwing_own_table
-- A table of the lake's own. The name takes part of an argument, so that it is looked for when a metric is called,
-- and not already where metrics are made known.
CREATE TEMP MACRO lapwing_own_table(name, model) AS TABLE
SELECT t.* FROM query_table(name || left(model, 0)) AS t;

-- name: lapwing_coarse
-- Counts in fewer bins: ranges of numbers that are side by side together, as many in each as can be, while null,
-- other, under and over stay apart. Categories stay as they are, and so do all counts if `bins` is NULL.
CREATE TEMP MACRO lapwing_coarse(counts, kind, bins) AS
CASE
    WHEN bins IS NULL OR kind = 'category' OR len(counts) - 4 <= bins THEN counts
    ELSE counts[:3] || list_transform(
        range(bins),
        lambda part: list_sum(
            counts[4 + (part * (len(counts) - 4)) // bins : 3 + ((part + 1) * (len(counts) - 4)) // bins]
        )::BIGINT
    ) || counts[len(counts):]
END;

-- name: lapwing_shares
-- Counts as shares of them all; NULL if there are none.
CREATE TEMP MACRO lapwing_shares(counts) AS
CASE WHEN list_sum(counts) > 0 THEN list_transform(counts, lambda n: n / list_sum(counts)) END;

-- name: lapwing_not_negative
-- What rounding may have brought below 0.
CREATE TEMP MACRO lapwing_not_negative(x) AS CASE WHEN x < 0 THEN 0.0 ELSE x END;

-- name: lapwing_filled
-- Shares of which none is less than 1e-4: their logarithms are asked for.
CREATE TEMP MACRO lapwing_filled(shares) AS list_transform(shares, lambda share: greatest(share, 1e-4));

-- name: lapwing_psi
-- Shares of the reference and of the span, in the same bins; so in those below.
CREATE TEMP MACRO lapwing_psi(p, q) AS
list_sum(list_transform(
    list_zip(lapwing_filled(p), lapwing_filled(q)), lambda pair: (pair[1] - pair[2]) * ln(pair[1] / pair[2])
));

-- name: lapwing_kl_divergence
-- Of the reference's shares from those of the span; either are made to add up to 1 again after they were filled.
CREATE TEMP MACRO lapwing_kl_divergence(p, q) AS
lapwing_not_negative(list_sum(list_transform(
    list_zip(lapwing_filled(p), lapwing_filled(q)),
    lambda pair: pair[1] / list_sum(lapwing_filled(p))
        * ln(pair[1] / list_sum(lapwing_filled(p)) / (pair[2] / list_sum(lapwing_filled(q))))
)));

-- name: lapwing_js_distance
CREATE TEMP MACRO lapwing_js_distance(p, q) AS
sqrt(lapwing_not_negative(list_sum(list_transform(
    list_zip(p, q),
    lambda pair: CASE WHEN pair[1] > 0 THEN pair[1] * ln(2 * pair[1] / (pair[1] + pair[2])) ELSE 0 END
        + CASE WHEN pair[2] > 0 THEN pair[2] * ln(2 * pair[2] / (pair[1] + pair[2])) ELSE 0 END
)) / 2));

-- name: lapwing_hellinger
CREATE TEMP MACRO lapwing_hellinger(p, q) AS
sqrt(lapwing_not_negative(1 - list_sum(list_transform(list_zip(p, q), lambda pair: sqrt(pair[1] * pair[2])))));

-- name: lapwing_total_variation
CREATE TEMP MACRO lapwing_total_variation(p, q) AS
list_sum(list_transform(list_zip(p, q), lambda pair: abs(pair[1] - pair[2]))) / 2;

-- name: lapwing_drift_reference
-- The reference that is meant, as one row: the newest version of a name, or of all of the role `drift`. Sorting for a
-- LIMIT takes longer than all else: DuckDB plans each look at it twice.
CREATE TEMP MACRO lapwing_drift_reference(model, reference) AS TABLE
SELECT
    unnest(arg_max(
        {
            'reference_name': s.reference,
            'reference_version': s.version,
            'chooses': s.policy->>'kind',
            'reach': to_seconds((s.policy->>'seconds')::BIGINT)
        },
        {'at': s.created_at, 'version': s.version}
    ))
FROM lapwing_own_table('reference_sets', model) AS s
WHERE lower(s.table_name) = lower(model)
    AND (s.reference = reference::VARCHAR OR (reference::VARCHAR IS NULL AND s.role = 'drift'))
HAVING count(*) > 0;

-- name: lapwing_kept_reference
-- The reference whose rows are meant, as one row: the newest version of a name, or of all of the role `drift` that
-- have rows. None where another span is meant.
CREATE TEMP MACRO lapwing_kept_reference(model, reference, reference_since) AS TABLE
SELECT
    unnest(arg_max(
        {'reference_name': s.reference, 'reference_number': s.version}, {'at': s.created_at, 'version': s.version}
    ))
FROM lapwing_own_table('reference_sets', model) AS s
WHERE lower(s.table_name) = lower(model) AND reference_since::TIMESTAMP IS NULL
    AND (s.reference = reference::VARCHAR OR (reference::VARCHAR IS NULL AND s.role = 'drift' AND s.has_rows))
HAVING count(*) > 0;

-- name: lapwing_referenced
-- The rows of a reference, with the columns that predictions have, and `truth`.
CREATE TEMP MACRO lapwing_referenced(model, reference, reference_since) AS TABLE
SELECT r.* EXCLUDE (reference, reference_version, row_number)
FROM query_table('temp.main."referenced:' || replace(model, '"', '""') || '"') AS r
JOIN lapwing_kept_reference(model, reference, reference_since) AS v
    ON r.reference = v.reference_name AND r.reference_version = v.reference_number;

-- name: lapwing_fields
-- The fields that predictions of a model have brought.
CREATE TEMP MACRO lapwing_fields(model) AS TABLE
SELECT * FROM query_table('temp.main."fields:' || replace(model, '"', '""') || '"');

-- name: lapwing_drift_rows
-- Rows of the profile of a span: of all predictions, or where a field is named as `segment`, of its segments.
CREATE TEMP MACRO lapwing_drift_rows(model, since, until, fields, segment, stage) AS TABLE
SELECT
    p.field AS field_name, p.binning_id, p.segment AS part, p.time AS hour, p.counts,
    p.sum AS total, p.sum_squares AS squares, p.minimum, p.maximum
FROM lapwing_own_table('profiles', model) AS p
WHERE lower(p.table_name) = lower(model)
    AND p.time >= since::TIMESTAMP AND p.time < until::TIMESTAMP
    AND (stage IS NULL OR p.stage = stage)
    AND (p.segment = segment OR (segment <> '' AND starts_with(p.segment, segment || '=')))
    AND p.field GLOB fields;

-- name: lapwing_moving_rows
-- The same of what is before a span, as far back as references that move along with it reach; none where there are no
-- such references. Only a number that stands in the view lets DuckDB pass over files that are older than that.
CREATE TEMP MACRO lapwing_moving_rows(model, since, until, fields, segment, stage) AS TABLE
SELECT
    p.field AS field_name, p.binning_id, p.segment AS part, p.time AS hour, p.counts,
    p.sum AS total, p.sum_squares AS squares, p.minimum, p.maximum
FROM query_table('temp.main."moving:' || replace(model, '"', '""') || '"') AS p
WHERE lower(p.table_name) = lower(model)
    AND p.time >= since::TIMESTAMP - p.farthest AND p.time < until::TIMESTAMP
    AND (stage IS NULL OR p.stage = stage)
    AND (p.segment = segment OR (segment <> '' AND starts_with(p.segment, segment || '=')))
    AND p.field GLOB fields;

-- name: lapwing_moments
-- What profiles keep of finite numbers, added up. Aggregates.
CREATE TEMP MACRO lapwing_moments(total, squares, minimum, maximum) AS
{'sum': sum(total), 'sum_squares': sum(squares), 'minimum': min(minimum), 'maximum': max(maximum)};

-- name: lapwing_counted
-- Counts of every field, segment and window beside those of the reference, in the bins they share. Where a field's
-- bins changed within a window, the rows in the bins of the reference are looked at.
CREATE TEMP MACRO lapwing_counted(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, nulls, min_rows
) AS TABLE
WITH chosen AS (
    SELECT v.* FROM lapwing_drift_reference(model, reference) AS v
),
-- Where the reference is a policy, every window has its own: `rolling` is the time before it, `same_hours` the same
-- hours of the week in the weeks before it.
policy AS (
    SELECT v.chooses, v.reach
    FROM chosen AS v
    WHERE v.chooses IS NOT NULL AND reference_since::TIMESTAMP IS NULL
),
windows AS (
    SELECT c.start, lapwing_window_end(every, c.start, since, until) AS stop, c.chooses, c.reach
    FROM (
        SELECT DISTINCT lapwing_window_start(every, r.hour, since) AS start, p.chooses, p.reach
        FROM lapwing_drift_rows(model, since, until, fields, segment, stage) AS r
        CROSS JOIN policy AS p
    ) AS c
),
-- What is added up stands together, whatever it is: adding counts up is much text, which is planned once so.
rows_of_sides AS (
    SELECT 'present' AS side, lapwing_window_start(every, r.hour, since) AS start, r.*
    FROM lapwing_drift_rows(model, since, until, fields, segment, stage) AS r
    UNION ALL
    SELECT 'moving' AS side, w.start, r.*
    FROM windows AS w
    JOIN lapwing_moving_rows(model, since, until, fields, segment, stage) AS r
        ON r.hour < w.start AND r.hour >= w.start - w.reach
        AND (
            w.chooses = 'rolling'
            OR w.stop - w.start >= INTERVAL 7 DAYS
            OR (604800 - (epoch(w.start)::BIGINT - epoch(r.hour)::BIGINT) % 604800) % 604800
                < epoch(w.stop)::BIGINT - epoch(w.start)::BIGINT
        )
    UNION ALL
    SELECT 'past' AS side, NULL AS start, r.*
    FROM lapwing_drift_rows(model, reference_since, reference_until, fields, segment, stage) AS r
    WHERE reference_since::TIMESTAMP IS NOT NULL
),
sums AS MATERIALIZED (
    SELECT
        r.side, r.field_name, r.binning_id, r.part, r.start,
        lapwing_total(r.counts) AS counts,
        lapwing_moments(r.total, r.squares, r.minimum, r.maximum) AS moments
    FROM rows_of_sides AS r
    GROUP BY r.side, r.field_name, r.binning_id, r.part, r.start
),
past AS (
    SELECT
        b.field AS field_name, b.binning_id, '' AS part, b.counts,
        {'sum': b.sum, 'sum_squares': b.sum_squares, 'minimum': b.minimum, 'maximum': b.maximum} AS moments,
        b.distinct_count
    FROM lapwing_own_table('reference_bins', model) AS b
    JOIN chosen AS v ON b.reference = v.reference_name AND b.version = v.reference_version
    WHERE lower(b.table_name) = lower(model) AND reference_since::TIMESTAMP IS NULL AND b.field GLOB fields
    UNION ALL
    SELECT s.field_name, s.binning_id, s.part, s.counts, s.moments, NULL AS distinct_count
    FROM sums AS s
    WHERE s.side = 'past'
),
bins AS (
    SELECT b.binning_id, any_value(b.kind) AS kind, any_value(b.edges) AS edges
    FROM lapwing_own_table('binnings', model) AS b
    GROUP BY b.binning_id
),
found AS (
    SELECT
        c.field_name, c.part, c.start, c.binning_id, c.moments,
        c.counts,
        coalesce(s.counts, m.counts) AS reference_counts,
        coalesce(s.moments, m.moments) AS reference_moments,
        s.distinct_count,
        b.kind, b.edges
    FROM sums AS c
    LEFT JOIN past AS s
        ON s.field_name = c.field_name AND s.binning_id = c.binning_id AND s.part = c.part
    LEFT JOIN sums AS m
        ON m.field_name = c.field_name AND m.binning_id = c.binning_id AND m.part = c.part AND m.start = c.start
        AND m.side = 'moving'
    LEFT JOIN bins AS b ON b.binning_id = c.binning_id
    WHERE c.side = 'present'
),
-- One binning of each: a window function over these few rows takes longer than to add all counts up.
beside AS (
    SELECT unnest(g.best)
    FROM (
        SELECT
            arg_min(
                f, {'nothing': f.reference_counts IS NULL, 'fewer': -list_sum(f.counts), 'name': f.binning_id}
            ) AS best
        FROM found AS f
        GROUP BY f.field_name, f.part, f.start
    ) AS g
),
sized AS (
    SELECT
        f.field_name IS NULL AND NOT starts_with(b.field_name, 'tags.') AS never_sent,
        b.* REPLACE (
            CASE WHEN nulls THEN b.counts ELSE [0] || b.counts[2:] END AS counts,
            CASE WHEN nulls THEN b.reference_counts ELSE [0] || b.reference_counts[2:] END AS reference_counts
        ),
        (list_sum(b.counts) - CASE WHEN nulls THEN 0 ELSE b.counts[1] END)::BIGINT AS sample_count,
        coalesce(
            list_sum(b.reference_counts) - CASE WHEN nulls THEN 0 ELSE b.reference_counts[1] END, 0
        )::BIGINT AS reference_count
    FROM beside AS b
    LEFT JOIN lapwing_fields(model) AS f ON f.field_name = b.field_name
)
SELECT
    CASE s.part WHEN '' THEN 'all' ELSE s.part END AS part,
    s.* EXCLUDE (part, binning_id, counts, reference_counts, never_sent),
    CASE
        WHEN reference_since::TIMESTAMP IS NULL
            THEN (SELECT v.reference_name FROM chosen AS v)
    END AS reference_name,
    CASE
        WHEN least(s.sample_count, s.reference_count) >= greatest(min_rows, 1) AND NOT s.never_sent THEN s.counts
    END AS counts,
    CASE
        WHEN least(s.sample_count, s.reference_count) >= greatest(min_rows, 1) AND NOT s.never_sent
            THEN s.reference_counts
    END AS reference_counts,
    CASE
        WHEN s.never_sent THEN 'no prediction has ever brought this field'
        WHEN s.reference_count = 0 AND s.part <> '' AND reference_since::TIMESTAMP IS NULL
            THEN 'stored references are not counted by segment: compare with reference_since and reference_until'
        WHEN s.reference_count = 0 THEN 'the reference has no value of this field'
        WHEN s.reference_count < greatest(min_rows, 1)
            THEN 'fewer than ' || greatest(min_rows, 1) || ' rows in the reference'
        WHEN s.sample_count < greatest(min_rows, 1) THEN 'fewer than ' || greatest(min_rows, 1) || ' rows'
    END AS reason
FROM sized AS s;

-- name: lapwing_compared_counts
-- Shares in coarse bins of either side, and the test whether one distribution gives both.
CREATE TEMP MACRO lapwing_compared_counts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, bins, nulls,
    min_rows
) AS TABLE
WITH coarse AS (
    SELECT
        c.* EXCLUDE (counts, reference_counts),
        lapwing_coarse(c.counts, c.kind, bins) AS counts,
        lapwing_coarse(c.reference_counts, c.kind, bins) AS reference_counts
    FROM lapwing_counted(
        model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, nulls,
        min_rows
    ) AS c
)
SELECT
    c.*,
    lapwing_shares(c.reference_counts) AS p,
    lapwing_shares(c.counts) AS q,
    lapwing_chi2(c.reference_counts, c.counts) AS tested
FROM coarse AS c;

-- name: lapwing_measure
-- A number that can be squared; NULL for what is none, and for what is as good as infinite.
CREATE TEMP MACRO lapwing_measure(x) AS
CASE WHEN abs(TRY_CAST(x AS DOUBLE)) < 1e150 THEN TRY_CAST(x AS DOUBLE) END;

-- name: lapwing_is_number
CREATE TEMP MACRO lapwing_is_number(kind, type) AS
kind = 'number' OR (kind = 'any' AND (type IN (
    'TINYINT', 'SMALLINT', 'INTEGER', 'BIGINT', 'HUGEINT', 'UTINYINT', 'USMALLINT', 'UINTEGER', 'UBIGINT',
    'UHUGEINT', 'FLOAT', 'DOUBLE'
) OR starts_with(type, 'DECIMAL')));

-- name: lapwing_word
-- A value as a category: text, the same for 1 and 1.0.
CREATE TEMP MACRO lapwing_word(x) AS
CASE WHEN typeof(x) IN ('DOUBLE', 'FLOAT') THEN regexp_replace(x::VARCHAR, '\.0$', '') ELSE x::VARCHAR END;

-- name: lapwing_side
-- What is kept of one side: of numbers a sample, the mean and the variance; of anything else how often each value
-- comes. Aggregates. Samples are those rows whose ids have the least hashes: the same rows whenever it is asked.
CREATE TEMP MACRO lapwing_side(x, word, id, samples) AS {
    'sample': arg_min(x, hash(id), samples) FILTER (x IS NOT NULL),
    'number_count': count(x),
    'mean': avg(x),
    'variance': var_samp(x),
    'words': histogram(word),
    'null_count': count(*) - count(x) - count(word),
    'row_count': count(*)
};

-- name: lapwing_sides
-- Values of a field in a span, by segment and window, beside those of a reference or of another span.
CREATE TEMP MACRO lapwing_sides(
    kind, model, since, until, field, reference, reference_since, reference_until, segments, every, as_of, stage,
    samples
) AS TABLE
WITH current AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        CASE WHEN lapwing_is_number(kind, typeof(field)) THEN lapwing_measure(field) END AS x,
        CASE WHEN NOT lapwing_is_number(kind, typeof(field)) THEN lapwing_word(field) END AS word,
        NOT lapwing_is_number(kind, typeof(field)) AS is_word,
        prediction_id AS id
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
before AS (
    SELECT
        segments AS labels,
        CASE WHEN lapwing_is_number(kind, typeof(field)) THEN lapwing_measure(field) END AS x,
        CASE WHEN NOT lapwing_is_number(kind, typeof(field)) THEN lapwing_word(field) END AS word,
        prediction_id AS id
    FROM lapwing_predictions(model, reference_since, reference_until, as_of, stage)
    UNION ALL
    SELECT
        segments AS labels,
        CASE WHEN lapwing_is_number(kind, typeof(field)) THEN lapwing_measure(field) END AS x,
        CASE WHEN NOT lapwing_is_number(kind, typeof(field)) THEN lapwing_word(field) END AS word,
        prediction_id AS id
    FROM lapwing_referenced(model, reference, reference_since)
),
current_side AS (
    SELECT c.labels, c.start, lapwing_side(c.x, c.word, c.id, samples) AS side, bool_or(c.is_word) AS is_category
    FROM current AS c
    GROUP BY c.labels, c.start
),
reference_side AS (
    SELECT b.labels, lapwing_side(b.x, b.word, b.id, samples) AS side
    FROM before AS b
    GROUP BY b.labels
)
SELECT
    c.labels, c.start, c.is_category, c.side AS now, r.side AS seen,
    (SELECT k.reference_name FROM lapwing_kept_reference(model, reference, reference_since) AS k) AS reference_name
FROM current_side AS c
LEFT JOIN reference_side AS r ON c.labels IS NOT DISTINCT FROM r.labels;

-- name: lapwing_aligned
-- How often each of several values came, in the order of `names`; nulls come last, where they count.
CREATE TEMP MACRO lapwing_aligned(side, names, nulls) AS
list_transform(names, lambda name: coalesce(side.words[name], 0)::BIGINT)
    || CASE WHEN nulls THEN [side.null_count::BIGINT] ELSE []::BIGINT[] END;

-- name: lapwing_too_few
-- Why nothing is told of a span and another where either has fewer than `least_rows`.
CREATE TEMP MACRO lapwing_too_few(reference_count, sample_count, least_rows) AS
CASE
    WHEN reference_count = 0 THEN 'the reference, or span, has no values to compare with here'
    WHEN reference_count < least_rows THEN 'fewer than ' || least_rows || ' rows in the reference'
    WHEN sample_count < least_rows THEN 'fewer than ' || least_rows || ' rows'
END;

-- name: lapwing_compared_rows
-- Both sides, compared by a method.
CREATE TEMP MACRO lapwing_compared_rows(
    method, kind, binning, model, since, until, field, reference, reference_since, reference_until, segments,
    every, as_of, stage, samples, nulls, min_rows
) AS TABLE
WITH aligned AS (
    SELECT
        s.labels, s.start, s.now, s.seen, s.reference_name,
        CASE
            WHEN s.is_category  -- where all are missing there are no words
                THEN list_sort(list_distinct(
                    coalesce(map_keys(s.now.words), []) || coalesce(map_keys(s.seen.words), [])
                ))
        END AS names,
        s.now.row_count - CASE WHEN nulls AND s.is_category THEN 0 ELSE s.now.null_count END
            AS sample_count,
        coalesce(
            s.seen.row_count - CASE WHEN nulls AND s.is_category THEN 0 ELSE s.seen.null_count END, 0
        ) AS reference_count
    FROM lapwing_sides(
        kind, model, since, until, field, reference, reference_since, reference_until, segments, every, as_of,
        stage, samples
    ) AS s
),
told AS (
    SELECT
        a.*,
        CASE
            WHEN least(a.reference_count, a.sample_count) < greatest(min_rows, 1) THEN NULL
            WHEN a.names IS NULL THEN lapwing_two_samples(method, a.seen.sample, a.now.sample, binning)
            ELSE lapwing_two_counts(
                method, lapwing_aligned(a.seen, a.names, nulls), lapwing_aligned(a.now, a.names, nulls), binning
            )
        END AS told
    FROM aligned AS a
)
SELECT
    t.labels, t.start, t.now, t.seen, t.sample_count, t.reference_count, t.reference_name, t.told,
    coalesce(lapwing_too_few(t.reference_count, t.sample_count, greatest(min_rows, 1)), t.told.reason) AS reason
FROM told AS t;

-- name: lapwing_variance
-- The variance of finite numbers by their sums, as of a sample.
CREATE TEMP MACRO lapwing_variance(moments, n) AS
lapwing_not_negative((moments.sum_squares - moments.sum * moments.sum / n) / nullif(n - 1, 0));

-- name: lapwing_welch
-- Welch's test of two samples by their means, variances and sizes.
CREATE TEMP MACRO lapwing_welch(seen_mean, seen_variance, m, now_mean, now_variance, n) AS {
    'value': lapwing_ratio(now_mean - seen_mean, sqrt((seen_variance + now_variance) / 2)),
    'p_value': lapwing_t_p(
        lapwing_ratio(now_mean - seen_mean, sqrt(seen_variance / m + now_variance / n)),
        lapwing_ratio(
            pow(seen_variance / m + now_variance / n, 2),
            pow(seen_variance / m, 2) / (m - 1) + pow(now_variance / n, 2) / (n - 1)
        )
    )
};

-- name: lapwing_mean_shift
-- The way between two means, and Welch's test, from sums and counts.
CREATE TEMP MACRO lapwing_mean_shift(seen, now, seen_counts, now_counts) AS
lapwing_welch(
    seen.sum / nullif(list_sum(seen_counts[3:]), 0), lapwing_variance(seen, list_sum(seen_counts[3:])),
    list_sum(seen_counts[3:]),
    now.sum / nullif(list_sum(now_counts[3:]), 0), lapwing_variance(now, list_sum(now_counts[3:])),
    list_sum(now_counts[3:])
);

-- name: lapwing_pooled
-- The standard deviation of two samples together, each around its own mean.
CREATE TEMP MACRO lapwing_pooled(seen, now) AS
sqrt(
    ((seen.number_count - 1) * seen.variance + (now.number_count - 1) * now.variance)
    / nullif(seen.number_count + now.number_count - 2, 0)
);

-- name: lapwing_student
-- Student's test of two samples.
CREATE TEMP MACRO lapwing_student(seen, now) AS {
    'statistic': lapwing_ratio(
        now.mean - seen.mean, lapwing_pooled(seen, now) * sqrt(1 / seen.number_count + 1 / now.number_count)
    ),
    'p_value': lapwing_t_p(
        lapwing_ratio(
            now.mean - seen.mean, lapwing_pooled(seen, now) * sqrt(1 / seen.number_count + 1 / now.number_count)
        ),
        seen.number_count + now.number_count - 2
    ),
    'effect_size': lapwing_ratio(abs(now.mean - seen.mean), lapwing_pooled(seen, now))
};

-- name: lapwing_one_side
-- How far the mean of a number is from where it ought to be, by segment and window.
CREATE TEMP MACRO lapwing_one_side(
    model, since, until, measure, expected, segments, every, as_of, stage, min_rows
) AS TABLE
WITH current AS (
    SELECT segments AS labels, lapwing_window_start(every, time, since) AS start, measure AS x
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, count(c.x) AS sample_count, avg(c.x) AS mean, stddev_samp(c.x) AS deviation
    FROM current AS c
    GROUP BY c.labels, c.start
)
SELECT
    s.labels, s.start, s.sample_count,
    CASE WHEN s.sample_count >= greatest(min_rows, 1) THEN s.mean - expected END AS way,
    nullif(s.deviation, 0) AS deviation,
    CASE WHEN s.sample_count < greatest(min_rows, 1) THEN 'fewer than ' || greatest(min_rows, 1) || ' rows' END
        AS reason
FROM sums AS s;

-- name: lapwing_importances
-- How much the model relies on each of its features, where its description tells.
CREATE TEMP MACRO lapwing_importances(model) AS TABLE
WITH newest AS (
    SELECT arg_max(d.description, d.described_at) AS description
    FROM lapwing_own_table('model_descriptions', model) AS d
    WHERE lower(d.table_name) = lower(model)
),
entries AS (
    SELECT unnest(map_entries((n.description->'features')::MAP(VARCHAR, JSON))) AS entry
    FROM newest AS n
)
SELECT e.entry.key AS field_name, (e.entry.value->>'importance')::DOUBLE AS importance
FROM entries AS e;

-- name: lapwing_automatic
-- The method for a field by its kind, how many values it has and how many rows the reference has.
CREATE TEMP MACRO lapwing_automatic(kind, distinct_count, reference_count) AS
CASE
    WHEN kind <> 'category' AND distinct_count > 5
        THEN CASE WHEN reference_count > 1000 THEN 'wasserstein_binned' ELSE 'ks_binned' END
    WHEN reference_count > 1000 THEN 'js_distance'
    WHEN distinct_count > 2 THEN 'chi2'
    ELSE 'z_test'
END;

-- name: lapwing_verdicts
-- A verdict for each field, segment and window.
CREATE TEMP MACRO lapwing_verdicts(
    model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, method,
    threshold, significance, adjust, min_effect, bins, nulls, min_rows
) AS TABLE
WITH chosen AS (
    SELECT
        c.*,
        lapwing_coarse(c.counts, c.kind, bins) AS coarse,
        lapwing_coarse(c.reference_counts, c.kind, bins) AS reference_coarse,
        CASE
            WHEN method IN ('ks_binned', 'wasserstein_binned') AND c.kind <> 'category' THEN method
            WHEN method NOT IN ('ks_binned', 'wasserstein_binned') THEN method
            ELSE lapwing_automatic(
                c.kind,
                coalesce(c.distinct_count, len(list_filter(c.reference_counts[3:], lambda n: n > 0))),
                c.reference_count
            )
        END AS means
    FROM lapwing_counted(
        model, since, until, reference, reference_since, reference_until, fields, segment, every, stage, nulls,
        min_rows
    ) AS c
    WHERE c.kind IS DISTINCT FROM 'duration' AND c.field_name <> 'error_type'
),
tested AS (
    SELECT
        c.*,
        lapwing_shares(c.reference_coarse) AS p,
        lapwing_shares(c.coarse) AS q,
        CASE
            WHEN c.means IN ('ks_binned', 'wasserstein_binned') THEN lapwing_ks_counts(c.reference_counts, c.counts)
            WHEN c.means = 'g_test' THEN lapwing_g_test(c.reference_coarse, c.coarse)
            ELSE lapwing_chi2(c.reference_coarse, c.coarse)
        END AS test
    FROM chosen AS c
),
valued AS (
    SELECT
        t.*,
        t.means IN ('ks_binned', 'chi2', 'g_test', 'z_test') AS is_test,
        lapwing_number(CASE t.means
            WHEN 'wasserstein_binned' THEN lapwing_wasserstein_counts(
                t.reference_counts, t.counts, t.edges, t.reference_moments, t.moments
            )
            WHEN 'psi' THEN lapwing_psi(t.p, t.q)
            WHEN 'js_distance' THEN lapwing_js_distance(t.p, t.q)
            WHEN 'kl_divergence' THEN lapwing_kl_divergence(t.p, t.q)
            WHEN 'hellinger' THEN lapwing_hellinger(t.p, t.q)
            WHEN 'total_variation' THEN lapwing_total_variation(t.p, t.q)
            WHEN 'ks_binned' THEN t.test.p_value
            WHEN 'chi2' THEN t.test.p_value
            WHEN 'g_test' THEN t.test.p_value
            WHEN 'z_test' THEN t.test.p_value
        END) AS value,
        CASE
            WHEN threshold IS NOT NULL THEN threshold
            WHEN t.means IN ('ks_binned', 'chi2', 'z_test') THEN 0.05
            ELSE 0.1
        END::DOUBLE AS bound,
        t.test.p_value AS p_value,
        row_number() OVER (PARTITION BY t.part, t.start ORDER BY t.test.p_value NULLS LAST, t.field_name) AS place,
        count(t.test.p_value) OVER (PARTITION BY t.part, t.start) AS places
    FROM tested AS t
),
adjusted AS (
    SELECT
        v.*,
        CASE
            WHEN NOT adjust THEN v.p_value
            WHEN v.p_value IS NOT NULL THEN least(1.0, min(v.p_value * v.places / v.place) OVER (
                PARTITION BY v.part, v.start ORDER BY v.place DESC ROWS UNBOUNDED PRECEDING
            ))
        END AS adjusted_p_value
    FROM valued AS v
)
SELECT
    a.part,
    a.field_name,
    a.start,
    CASE WHEN a.reference_count > 0 THEN a.means END AS method,
    a.value,
    CASE WHEN a.reference_count > 0 THEN a.bound END AS threshold,
    a.p_value,
    a.adjusted_p_value,
    a.test.effect_size AS effect_size,
    CASE
        WHEN a.value IS NULL THEN NULL
        WHEN a.is_test THEN a.adjusted_p_value <= a.bound AND a.test.effect_size >= min_effect
        ELSE a.value >= a.bound AND a.adjusted_p_value <= significance
    END::INTEGER AS drifted,
    i.importance,
    a.sample_count,
    a.reference_count,
    a.reference_name AS reference,
    CASE
        WHEN a.reason IS NULL AND a.value IS NULL THEN 'undefined for these values by ' || a.means
        ELSE a.reason
    END AS reason
FROM adjusted AS a
LEFT JOIN lapwing_importances(model) AS i ON i.field_name = a.field_name;
