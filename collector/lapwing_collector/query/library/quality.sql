-- name: missing_share
-- group: quality
-- needs: fields
-- summary: Share of rows in which a field is missing.
-- formula: rows where the field is NULL or NaN / rows, each counted once
-- source: pandas.DataFrame.isna; interval: Wilson (1927)
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM missing_share('churn', $window_start, $window_end, fields := ['inputs.age'])
CREATE TEMP MACRO missing_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95, fields := NULL
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('leaf:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    SELECT c.labels, c.start, count(*) AS n, count(COLUMNS('^leaf:'))
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_field AS (
    SELECT u.labels, u.start, lapwing_field(u.name) AS field, u.n - u.present AS hits, u.n
    FROM (UNPIVOT counts ON COLUMNS('^leaf:') INTO NAME name VALUE present) AS u
    WHERE u.name <> 'leaf:'
)
FROM lapwing_share_of('each_field', every, since, until, confidence);

-- name: numeric_summary
-- group: quality
-- needs: fields
-- summary: What the values of a numeric field are like: extremes, mean, spread and quantiles.
-- formula: min, max, mean, std (n - 1), and the quantiles asked for, labelled as q0.5; of finite values,
--   each row counted once
-- source: pandas.DataFrame.describe; quantiles as numpy.quantile, method linear
-- parameter fields: names of fields, as inputs.age; all if NULL
-- parameter quantiles: which quantiles, as shares; 0.5 is the median
-- example: FROM numeric_summary('churn', $window_start, $window_end, fields := ['inputs.age'])
CREATE TEMP MACRO numeric_summary(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL,
    quantiles := [0.05, 0.25, 0.5, 0.75, 0.95]
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('number:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
summaries AS (
    SELECT
        c.labels,
        c.start,
        {
            'n': count(COLUMNS('^number:(.*)')),
            'min': min(COLUMNS('^number:(.*)')),
            'max': max(COLUMNS('^number:(.*)')),
            'mean': avg(lapwing_bounded(COLUMNS('^number:(.*)'))),
            'std': stddev_samp(lapwing_bounded(COLUMNS('^number:(.*)'))),
            'quantiles': quantile_cont(COLUMNS('^number:(.*)'), quantiles)
        } AS 'number:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_statistic AS (
    SELECT
        u.labels,
        u.start,
        lapwing_field(u.name) AS field,
        u.s.n AS n,
        unnest(
            [
                {'statistic': 'min', 'value': u.s.min},
                {'statistic': 'max', 'value': u.s.max},
                {'statistic': 'mean', 'value': CASE WHEN lapwing_is_bounded(u.s.min, u.s.max) THEN u.s.mean END},
                {'statistic': 'std', 'value': CASE WHEN lapwing_is_bounded(u.s.min, u.s.max) THEN u.s.std END}
            ]
            || list_transform(
                quantiles,
                lambda q, place: {'statistic': 'q' || lapwing_quantile_name(q), 'value': u.s.quantiles[place]}
            )
        ) AS told
    FROM (UNPIVOT summaries ON COLUMNS('^number:') INTO NAME name VALUE s) AS u
    WHERE u.name <> 'number:'
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    s.field,
    s.told.statistic AS statistic,
    lapwing_number(s.told.value) AS value,
    s.n AS sample_count
FROM each_statistic AS s
ORDER BY ALL;

-- name: number_profile
-- group: quality
-- needs:
-- summary: Mean, median and extremes of numeric fields per window from counts by hour, which are there however many
--   predictions there were and however long ago.
-- formula: value = sum of finite values / how many there are; median: as far within the first bin up to which half of
--   them are as half is within its count, or the number that the bin stands for, if the field has few different ones
-- source: sums and counts of the profile; mean as pandas.DataFrame.mean, the median in the bin of that of numpy.median.
--   Each row counts once, whatever its sampling weight; a window takes the hours that begin in it. Where bins changed
--   within a window, the median is that of the rows in the bins that most of them are in
-- parameter fields: which fields, as a pattern: `inputs.*`, `output.score`; all numbers unless told
-- parameter segment: a field whose segments are told apart, `inputs.carrier`, or one of them, `inputs.carrier=AA`;
--   profiles must be kept by it
-- parameter version: the predictions of this version alone
-- example: FROM number_profile('churn', $window_start, $window_end, fields := 'output.score', every := INTERVAL 1 DAY)
CREATE TEMP MACRO number_profile(
    model, since, until, fields := '*', segment := '', every := NULL, stage := 'production', version := NULL
) AS TABLE
WITH added AS (
    SELECT
        p.field, p.segment, lapwing_window_start(every, p.time, since) AS start, p.binning_id,
        sum(p.sum) AS total,
        sum(list_sum(p.counts[3:]))::BIGINT AS n,
        min(p.minimum) AS minimum,
        max(p.maximum) AS maximum,
        list(p.counts[3:]) AS counts
    FROM lapwing_own_table('profiles', model) AS p
    WHERE lower(p.table_name) = lower(model) AND (p.field = fields OR p.field GLOB fields)
        AND (p.segment = segment OR (segment <> '' AND starts_with(p.segment, segment || '=')))
        AND p.time >= since::TIMESTAMP AND p.time < until::TIMESTAMP
        AND (stage IS NULL OR p.stage = stage)
        AND (version IS NULL OR p.version = version)
    GROUP BY p.field, p.segment, lapwing_window_start(every, p.time, since), p.binning_id
),
placed AS (
    SELECT a.*, lapwing_bin_medians(a.counts, b.edges, a.minimum, a.maximum) AS median
    FROM added AS a
    JOIN (
        SELECT b.binning_id, any_value(b.edges) AS edges
        FROM lapwing_own_table('binnings', model) AS b
        WHERE b.kind = 'number'
        GROUP BY b.binning_id
    ) AS b ON b.binning_id = a.binning_id
)
SELECT
    p.segment,
    p.field,
    p.start AS window_start,
    lapwing_window_end(every, p.start, since, until) AS window_end,
    lapwing_ratio(sum(p.total), sum(p.n)) AS value,
    arg_max(p.median, p.n) AS median,
    min(p.minimum) AS minimum,
    max(p.maximum) AS maximum,
    sum(p.n)::BIGINT AS sample_count
FROM placed AS p
GROUP BY p.segment, p.field, p.start
ORDER BY ALL;

-- name: distinct_count
-- group: quality
-- needs: fields
-- summary: How many different values a field has.
-- formula: count(distinct value), NULL and NaN left out
-- source: pandas.DataFrame.nunique
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM distinct_count('churn', $window_start, $window_end)
CREATE TEMP MACRO distinct_count(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('leaf:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    SELECT
        c.labels,
        c.start,
        {'n': count(COLUMNS('^leaf:(.*)')), 'k': count(DISTINCT COLUMNS('^leaf:(.*)'))} AS 'leaf:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
SELECT
    unnest(u.labels),
    u.start AS window_start,
    lapwing_window_end(every, u.start, since, until) AS window_end,
    lapwing_field(u.name) AS field,
    u.s.k::DOUBLE AS value,
    u.s.n AS sample_count
FROM (UNPIVOT counts ON COLUMNS('^leaf:') INTO NAME name VALUE s) AS u
WHERE u.name <> 'leaf:'
ORDER BY ALL;

-- name: most_common_share
-- group: quality
-- needs: fields
-- summary: Share of the most common value of a field: 1 where it is constant, close to 1 where it nearly is.
-- formula: rows with the most common value / rows, a missing value being one, too
-- source: pandas.Series.value_counts(dropna=False); interval: Wilson (1927)
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM most_common_share('churn', $window_start, $window_end) WHERE value > 0.95
CREATE TEMP MACRO most_common_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95, fields := NULL
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('leaf:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    SELECT
        c.labels,
        c.start,
        count(*) AS n,
        greatest(
            list_max(map_values(histogram(COLUMNS('^leaf:(.*)')::VARCHAR))),
            count(*) - count(COLUMNS('^leaf:(.*)'))
        ) AS 'leaf:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_field AS (
    SELECT u.labels, u.start, lapwing_field(u.name) AS field, u.hits, u.n
    FROM (UNPIVOT counts ON COLUMNS('^leaf:') INTO NAME name VALUE hits) AS u
    WHERE u.name <> 'leaf:'
)
FROM lapwing_share_of('each_field', every, since, until, confidence);

-- name: category_share
-- group: quality
-- needs: fields
-- summary: Shares of the values of a category, the most common ones.
-- formula: rows with the value / rows in which the field has one
-- source: pandas.Series.value_counts(normalize=True); interval: Wilson (1927)
-- parameter fields: names of fields, as inputs.age; all if NULL
-- parameter top: how many values of each field, at most; ties by name
-- example: FROM category_share('churn', $window_start, $window_end, fields := ['inputs.plan'], top := 5)
CREATE TEMP MACRO category_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95, fields := NULL, top := 20
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    SELECT c.labels, c.start, histogram(COLUMNS('^text:(.*)')) AS 'text:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_value AS (
    SELECT u.labels, u.start, lapwing_field(u.name) AS field, unnest(map_entries(u.counts)) AS entry
    FROM (UNPIVOT counts ON COLUMNS('^text:') INTO NAME name VALUE counts) AS u
    WHERE u.name <> 'text:'
),
shares AS (
    SELECT
        e.labels,
        e.start,
        e.field,
        e.entry.key AS category,
        e.entry.value AS hits,
        sum(e.entry.value) OVER whole AS n
    FROM each_value AS e
    WINDOW whole AS (PARTITION BY e.labels, e.start, e.field)
    QUALIFY row_number() OVER (whole ORDER BY e.entry.value DESC, e.entry.key) <= top
)
FROM lapwing_share_of('shares', every, since, until, confidence);

-- name: out_of_range_share
-- group: quality
-- needs:
-- summary: Share of values below a minimum or above a maximum.
-- formula: rows with value < minimum or value > maximum / rows with a value; infinities
--   are out of range, NaN is no value
-- source: counted; interval: Wilson (1927)
-- parameter field: the field, or an expression over the columns of predictions
-- parameter minimum: the least value that is in range; NULL for none
-- parameter maximum: the greatest value that is in range; NULL for none
-- example: FROM out_of_range_share('churn', $window_start, $window_end, inputs.age, 18, 120)
CREATE TEMP MACRO out_of_range_share(
    model, since, until, field, minimum, maximum, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        (CASE WHEN NOT isnan((field)::DOUBLE)
            THEN coalesce((field)::DOUBLE < minimum, false) OR coalesce((field)::DOUBLE > maximum, false)
        END)::INTEGER AS hit
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, sum(c.hit) AS hits, count(c.hit) AS n
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: unlisted_share
-- group: quality
-- needs:
-- summary: Share of values that are not in a list.
-- formula: rows whose value is not listed / rows with a value
-- source: counted; interval: Wilson (1927)
-- parameter field: the field, or an expression over the columns of predictions
-- parameter listed: LIST of the values that are expected
-- example: FROM unlisted_share('churn', $window_start, $window_end, inputs.plan, ['basic', 'pro'])
CREATE TEMP MACRO unlisted_share(
    model, since, until, field, listed, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        (NOT list_contains(listed, field))::INTEGER AS hit
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, sum(c.hit) AS hits, count(c.hit) AS n
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: pattern_share
-- group: quality
-- needs:
-- summary: Share of texts that match a regular expression somewhere.
-- formula: rows where regexp_matches(text, pattern) / rows with a text
-- source: Python's re.search, in RE2's dialect; interval: Wilson (1927)
-- parameter field: the field, or an expression over the columns of predictions
-- parameter pattern: the regular expression; ^ and $ for the whole text
-- example: FROM pattern_share('churn', $window_start, $window_end, inputs.plan, '^[a-z]+$')
CREATE TEMP MACRO pattern_share(
    model, since, until, field, pattern, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        (regexp_matches((field)::VARCHAR, pattern))::INTEGER AS hit
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, sum(c.hit) AS hits, count(c.hit) AS n
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: beyond_reference_share
-- group: quality
-- needs: fields
-- summary: Share of a numeric field's values beyond the extremes of a reference or of an earlier span.
-- formula: rows with value < min or > max of the reference / rows with a finite value
-- source: counted; interval: Wilson (1927)
-- parameter reference: name of a stored reference, its newest version; NULL: the newest of the role drift
-- parameter reference_since: where an earlier span begins to compare with instead
-- parameter reference_until: where it ends, exclusive
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM beyond_reference_share('churn', $window_start, $window_end, reference := 'training')
CREATE TEMP MACRO beyond_reference_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95, fields := NULL,
    reference := NULL, reference_since := NULL, reference_until := NULL
) AS TABLE
WITH earlier AS (
    SELECT COLUMNS(lambda name: lapwing_chosen('number:', name, fields))
    FROM lapwing_predictions(model, reference_since, reference_until, as_of, stage)
),
extremes AS (
    SELECT {
        'n': count(COLUMNS('^number:(.*)')),
        'least': min(COLUMNS('^number:(.*)')),
        'most': max(COLUMNS('^number:(.*)'))
    } AS 'number:\1'
    FROM earlier
),
bounds AS (
    SELECT u.name, u.s.n AS n, u.s.least AS least, u.s.most AS most
    FROM (UNPIVOT extremes ON COLUMNS('^number:') INTO NAME name VALUE s) AS u
    WHERE u.name <> 'number:' AND reference_since::TIMESTAMP IS NOT NULL
    UNION ALL
    SELECT b.name, b.n, b.least, b.most
    FROM lapwing_stored_bounds(model, reference, reference_since) AS b
),
chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('number:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
each_value AS (
    SELECT u.labels, u.start, u.name, u.x
    FROM (UNPIVOT chosen ON COLUMNS('^number:') INTO NAME name VALUE x) AS u
),
sums AS (
    SELECT
        e.labels,
        e.start,
        lapwing_field(e.name) AS field,
        sum((e.x < b.least OR e.x > b.most)::INTEGER) AS hits,
        count(*) AS n,
        coalesce(any_value(b.n), 0) AS reference_count
    FROM each_value AS e
    LEFT JOIN bounds AS b ON b.name = e.name
    GROUP BY e.labels, e.start, e.name
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: new_category_share
-- group: quality
-- needs: fields
-- summary: Share of a category's values that a reference, or an earlier span, has not.
-- formula: rows with a value that the reference has not / rows with a value; NULL without a reference, and where it keeps
--   only the most common values
-- source: counted; interval: Wilson (1927)
-- parameter reference: name of a stored reference, its newest version; NULL: the newest of the role drift
-- parameter reference_since: where an earlier span begins to compare with instead
-- parameter reference_until: where it ends, exclusive
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM new_category_share('churn', $window_start, $window_end, reference := 'training')
CREATE TEMP MACRO new_category_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95, fields := NULL,
    reference := NULL, reference_since := NULL, reference_until := NULL
) AS TABLE
WITH earlier AS (
    SELECT COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM lapwing_predictions(model, reference_since, reference_until, as_of, stage)
),
earlier_counts AS (
    SELECT histogram(COLUMNS('^text:(.*)')) AS 'text:\1' FROM earlier
),
known AS (
    SELECT u.name, unnest(map_entries(u.counts)) AS entry
    FROM (UNPIVOT earlier_counts ON COLUMNS('^text:') INTO NAME name VALUE counts) AS u
    UNION ALL
    SELECT c.name, c.entry
    FROM lapwing_stored_categories(model, reference, reference_since) AS c
),
sizes AS (
    SELECT k.name, sum(k.entry.value)::BIGINT AS reference_count FROM known AS k GROUP BY k.name
),
chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    SELECT c.labels, c.start, histogram(COLUMNS('^text:(.*)')) AS 'text:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_value AS (
    SELECT u.labels, u.start, u.name, unnest(map_entries(u.counts)) AS entry
    FROM (UNPIVOT counts ON COLUMNS('^text:') INTO NAME name VALUE counts) AS u
    WHERE u.name <> 'text:'
),
sums AS (
    SELECT
        e.labels,
        e.start,
        lapwing_field(e.name) AS field,
        CASE
            WHEN any_value(z.reference_count) IS NOT NULL
            THEN coalesce(sum(e.entry.value) FILTER (k.name IS NULL), 0)
        END AS hits,
        sum(e.entry.value) AS n,
        coalesce(any_value(z.reference_count), 0) AS reference_count
    FROM each_value AS e
    LEFT JOIN known AS k ON k.name = e.name AND k.entry.key = e.entry.key
    LEFT JOIN sizes AS z ON z.name = e.name
    GROUP BY e.labels, e.start, e.name
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: new_categories
-- group: quality
-- needs: fields
-- summary: Values of a category that a reference, or an earlier span, has not, each with its rows.
-- formula: rows with the value
-- source: counted
-- parameter reference: name of a stored reference, its newest version; NULL: the newest of the role drift
-- parameter reference_since: where an earlier span begins to compare with instead
-- parameter reference_until: where it ends, exclusive
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM new_categories('churn', $window_start, $window_end, fields := ['inputs.plan'], reference := 'training')
CREATE TEMP MACRO new_categories(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL,
    reference := NULL, reference_since := NULL, reference_until := NULL
) AS TABLE
WITH earlier AS (
    SELECT COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM lapwing_predictions(model, reference_since, reference_until, as_of, stage)
),
earlier_counts AS (
    SELECT histogram(COLUMNS('^text:(.*)')) AS 'text:\1' FROM earlier
),
known AS (
    SELECT u.name, unnest(map_entries(u.counts)) AS entry
    FROM (UNPIVOT earlier_counts ON COLUMNS('^text:') INTO NAME name VALUE counts) AS u
    UNION ALL
    SELECT c.name, c.entry
    FROM lapwing_stored_categories(model, reference, reference_since) AS c
),
sizes AS (
    SELECT k.name, sum(k.entry.value)::BIGINT AS reference_count FROM known AS k GROUP BY k.name
),
chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    SELECT c.labels, c.start, histogram(COLUMNS('^text:(.*)')) AS 'text:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_value AS (
    SELECT u.labels, u.start, u.name, unnest(map_entries(u.counts)) AS entry
    FROM (UNPIVOT counts ON COLUMNS('^text:') INTO NAME name VALUE counts) AS u
    WHERE u.name <> 'text:'
),
sums AS (
    SELECT e.*, (sum(e.entry.value) OVER (PARTITION BY e.labels, e.start, e.name))::BIGINT AS n
    FROM each_value AS e
)
SELECT
    unnest(e.labels),
    e.start AS window_start,
    lapwing_window_end(every, e.start, since, until) AS window_end,
    lapwing_field(e.name) AS field,
    e.entry.key AS category,
    e.entry.value::DOUBLE AS value,
    e.n AS sample_count,
    z.reference_count
FROM sums AS e
JOIN sizes AS z ON z.name = e.name
ANTI JOIN known AS k ON k.name = e.name AND k.entry.key = e.entry.key
ORDER BY ALL;

-- name: lost_categories
-- group: quality
-- needs: fields
-- summary: Values of a category that a reference, or an earlier span, has and a window has not, each with the rows it had.
-- formula: rows of the reference with the value
-- source: counted
-- parameter reference: name of a stored reference, its newest version; NULL: the newest of the role drift
-- parameter reference_since: where an earlier span begins to compare with instead
-- parameter reference_until: where it ends, exclusive
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM lost_categories('churn', $window_start, $window_end, fields := ['inputs.plan'], reference := 'training')
CREATE TEMP MACRO lost_categories(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL,
    reference := NULL, reference_since := NULL, reference_until := NULL
) AS TABLE
WITH earlier AS (
    SELECT COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM lapwing_predictions(model, reference_since, reference_until, as_of, stage)
),
earlier_counts AS (
    SELECT histogram(COLUMNS('^text:(.*)')) AS 'text:\1' FROM earlier
),
known AS (
    SELECT u.name, unnest(map_entries(u.counts)) AS entry
    FROM (UNPIVOT earlier_counts ON COLUMNS('^text:') INTO NAME name VALUE counts) AS u
    UNION ALL
    SELECT c.name, c.entry
    FROM lapwing_stored_categories(model, reference, reference_since) AS c
),
sizes AS (
    SELECT k.name, sum(k.entry.value)::BIGINT AS reference_count FROM known AS k GROUP BY k.name
),
chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('text:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counts AS (
    SELECT c.labels, c.start, histogram(COLUMNS('^text:(.*)')) AS 'text:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_value AS (
    SELECT u.labels, u.start, u.name, unnest(map_entries(u.counts)) AS entry
    FROM (UNPIVOT counts ON COLUMNS('^text:') INTO NAME name VALUE counts) AS u
    WHERE u.name <> 'text:'
),
sums AS (
    SELECT e.labels, e.start, e.name, sum(e.entry.value)::BIGINT AS n
    FROM each_value AS e
    GROUP BY e.labels, e.start, e.name
)
SELECT
    unnest(s.labels),
    s.start AS window_start,
    lapwing_window_end(every, s.start, since, until) AS window_end,
    lapwing_field(s.name) AS field,
    k.entry.key AS category,
    k.entry.value::DOUBLE AS value,
    s.n AS sample_count,
    z.reference_count
FROM sums AS s
JOIN known AS k ON k.name = s.name
JOIN sizes AS z ON z.name = s.name
ANTI JOIN each_value AS e
    ON e.labels = s.labels AND e.start = s.start AND e.name = s.name AND e.entry.key = k.entry.key
ORDER BY ALL;

-- name: duplicate_row_share
-- group: quality
-- needs:
-- summary: Share of rows that repeat the inputs and the output of another.
-- formula: (rows - different rows) / rows
-- source: pandas.DataFrame.duplicated; interval: Wilson (1927)
-- example: FROM duplicate_row_share('churn', $window_start, $window_end)
CREATE TEMP MACRO duplicate_row_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        inputs,
        output
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, count(*) - count(DISTINCT {'inputs': c.inputs, 'output': c.output}) AS hits, count(*) AS n
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: duplicate_id_share
-- group: quality
-- needs:
-- summary: Share of rows that repeat the id of another prediction.
-- formula: (rows with an id - different ids) / rows with an id
-- source: pandas.Series.duplicated; interval: Wilson (1927)
-- example: FROM duplicate_id_share('churn', $window_start, $window_end)
CREATE TEMP MACRO duplicate_id_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        prediction_id AS id
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, count(c.id) - count(DISTINCT c.id) AS hits, count(c.id) AS n
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: type_change_share
-- group: quality
-- needs:
-- summary: Share of rows in which a field came with a type that it had not before.
-- formula: rows whose `extra` holds the field / rows
-- source: the lake keeps in `extra` what cannot be cast without loss; interval: Wilson (1927)
-- example: FROM type_change_share('churn', $window_start, $window_end)
CREATE TEMP MACRO type_change_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        coalesce(json_keys(extra::JSON), []) AS changed
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
totals AS (
    SELECT c.labels, c.start, count(*) AS n FROM chosen AS c GROUP BY c.labels, c.start
),
each_field AS (
    SELECT c.labels, c.start, unnest(c.changed) AS field FROM chosen AS c
),
sums AS (
    SELECT e.labels, e.start, e.field, count(*) AS hits, any_value(t.n) AS n
    FROM each_field AS e
    JOIN totals AS t ON t.labels = e.labels AND t.start = e.start
    GROUP BY e.labels, e.start, e.field
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: conflicting_share
-- group: quality
-- needs: prediction
-- summary: Share of predictions whose inputs got another prediction, too.
-- formula: rows whose inputs have more than one prediction / rows with a prediction
-- source: counted; interval: Wilson (1927)
-- example: FROM conflicting_share('churn', $window_start, $window_end)
CREATE TEMP MACRO conflicting_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        inputs,
        prediction
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
by_inputs AS (
    SELECT c.labels, c.start, count(c.prediction) AS n, count(DISTINCT c.prediction) AS k
    FROM chosen AS c
    GROUP BY c.labels, c.start, c.inputs
),
sums AS (
    SELECT b.labels, b.start, coalesce(sum(b.n) FILTER (b.k > 1), 0) AS hits, sum(b.n) AS n
    FROM by_inputs AS b
    GROUP BY b.labels, b.start
)
FROM lapwing_share_of('sums', every, since, until, confidence);

-- name: conflicting_truth_share
-- group: quality
-- needs: truth
-- summary: Share of labelled predictions whose inputs have another truth, too: no model can get all of them right.
-- formula: rows whose inputs have more than one truth / rows with a truth
-- source: counted; interval: Wilson (1927)
-- example: FROM conflicting_truth_share('churn', $window_start, $window_end)
CREATE TEMP MACRO conflicting_truth_share(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        inputs,
        truth,
        mature
    FROM lapwing_labeled(model, since, until, as_of, stage)
),
known AS (
    SELECT
        c.labels,
        c.start,
        lapwing_coverage(c.truth) AS label_coverage,
        lapwing_maturity(c.mature) AS label_maturity
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
by_inputs AS (
    SELECT c.labels, c.start, count(c.truth) AS n, count(DISTINCT c.truth::VARCHAR) AS k
    FROM chosen AS c
    GROUP BY c.labels, c.start, c.inputs
),
sums AS (
    SELECT b.labels, b.start, coalesce(sum(b.n) FILTER (b.k > 1), 0) AS hits, sum(b.n) AS n
    FROM by_inputs AS b
    GROUP BY b.labels, b.start
),
joined AS (
    SELECT s.*, k.label_coverage, k.label_maturity
    FROM sums AS s JOIN known AS k ON s.labels = k.labels AND s.start = k.start
)
SELECT s.* EXCLUDE (label_coverage, label_maturity), s.label_coverage, s.label_maturity
FROM lapwing_share_of('joined', every, since, until, confidence) AS s;

-- name: duplicate_fields
-- group: quality
-- needs: fields
-- summary: Pairs of fields that say the same in every row, NULL being a value: one of them is one too many. Fields without
--   any value are left out.
-- formula: 1 for each pair; fields that differ somewhere have no row
-- source: pandas.DataFrame.T.duplicated, by a hash of 64 bits
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM duplicate_fields('churn', $window_start, $window_end)
CREATE TEMP MACRO duplicate_fields(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        row_number() OVER () AS key,
        COLUMNS(lambda name: lapwing_chosen('leaf:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
digests AS (
    SELECT
        c.labels,
        c.start,
        count(*) AS n,
        {
            'present': count(COLUMNS('^leaf:(.*)')),
            'digest': bit_xor(hash(c.key, COLUMNS('^leaf:(.*)')::VARCHAR))
        } AS 'leaf:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
),
each_field AS (
    SELECT u.labels, u.start, u.n, lapwing_field(u.name) AS field, u.s.digest AS digest
    FROM (UNPIVOT digests ON COLUMNS('^leaf:') INTO NAME name VALUE s) AS u
    WHERE u.name <> 'leaf:' AND u.s.present > 0
)
SELECT
    unnest(a.labels),
    a.start AS window_start,
    lapwing_window_end(every, a.start, since, until) AS window_end,
    a.field,
    b.field AS other_field,
    1.0::DOUBLE AS value,
    a.n AS sample_count
FROM each_field AS a
JOIN each_field AS b
    ON a.labels = b.labels AND a.start = b.start AND a.digest = b.digest AND a.field < b.field
ORDER BY ALL;

-- name: correlation
-- group: quality
-- needs: fields
-- summary: How much two numeric fields go together, for every pair of fields.
-- formula: Pearson's r, or Spearman's rho (r of mean ranks), over rows in which both are finite; NULL where one is constant
-- source: pandas.DataFrame.corr
-- parameter fields: names of fields, as inputs.age; all if NULL; every pair is looked at, so name those of wide models
-- parameter method: 'pearson' or 'spearman'
-- example: FROM correlation('churn', $window_start, $window_end, fields := ['inputs.age', 'inputs.tenure'])
CREATE TEMP MACRO correlation(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL, method := 'pearson'
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        COLUMNS(lambda name: lapwing_chosen('number:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
counted AS (
    SELECT count(COLUMNS('^number:')) FROM chosen
),
names AS (
    SELECT u.name, row_number() OVER () AS place
    FROM (UNPIVOT counted ON COLUMNS('^number:') INTO NAME name VALUE n) AS u
),
pairs AS (
    SELECT a.place AS i, b.place AS j, lapwing_field(a.name) AS field, lapwing_field(b.name) AS other_field
    FROM names AS a
    JOIN names AS b ON a.place < b.place
    WHERE a.name <> 'number:' AND b.name <> 'number:'
),
packed AS (
    SELECT c.labels, c.start, list_value(*COLUMNS('^number:')) AS xs FROM chosen AS c
),
valued AS (
    SELECT p.labels, p.start, q.i, q.j, lapwing_bounded(p.xs[q.i]) AS x, lapwing_bounded(p.xs[q.j]) AS y
    FROM packed AS p CROSS JOIN pairs AS q
    WHERE lapwing_bounded(p.xs[q.i]) IS NOT NULL AND lapwing_bounded(p.xs[q.j]) IS NOT NULL
),
ranked AS (
    SELECT
        v.labels,
        v.start,
        v.i,
        v.j,
        rank() OVER (PARTITION BY v.labels, v.start, v.i, v.j ORDER BY v.x)
        + (count(*) OVER (PARTITION BY v.labels, v.start, v.i, v.j, v.x) - 1) / 2 AS x,
        rank() OVER (PARTITION BY v.labels, v.start, v.i, v.j ORDER BY v.y)
        + (count(*) OVER (PARTITION BY v.labels, v.start, v.i, v.j, v.y) - 1) / 2 AS y
    FROM valued AS v
    WHERE method = 'spearman'
),
taken AS (
    SELECT v.* FROM valued AS v WHERE method = 'pearson'
    UNION ALL
    SELECT r.* FROM ranked AS r
),
found AS (
    SELECT t.labels, t.start, t.i, t.j, lapwing_corr(t.x, t.y) AS r, count(*) AS n
    FROM taken AS t
    GROUP BY t.labels, t.start, t.i, t.j
)
SELECT
    unnest(f.labels),
    f.start AS window_start,
    lapwing_window_end(every, f.start, since, until) AS window_end,
    q.field,
    q.other_field,
    f.r AS value,
    f.n AS sample_count
FROM found AS f
JOIN pairs AS q USING (i, j)
ORDER BY ALL;

-- name: correlation_with
-- group: quality
-- needs: fields
-- summary: How much each numeric field goes together with one expression, such as the score.
-- formula: Pearson's r over rows in which both are finite; NULL where one is constant
-- source: pandas.DataFrame.corrwith
-- parameter target: a number or a truth value, made of the columns of predictions, `prediction` and `score`
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM correlation_with('churn', $window_start, $window_end, output.score)
CREATE TEMP MACRO correlation_with(
    model, since, until, target, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        lapwing_bounded((target)::DOUBLE) AS y,
        COLUMNS(lambda name: lapwing_chosen('number:', name, fields))
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
found AS (
    SELECT
        c.labels,
        c.start,
        {
            'r': lapwing_corr(lapwing_bounded(COLUMNS('^number:(.*)')), c.y),
            'n': count(lapwing_bounded(COLUMNS('^number:(.*)')) + c.y)
        } AS 'number:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
SELECT
    unnest(u.labels),
    u.start AS window_start,
    lapwing_window_end(every, u.start, since, until) AS window_end,
    lapwing_field(u.name) AS field,
    u.s.r AS value,
    u.s.n AS sample_count
FROM (UNPIVOT found ON COLUMNS('^number:') INTO NAME name VALUE s) AS u
WHERE u.name <> 'number:'
ORDER BY ALL;

-- name: truth_correlation
-- group: quality
-- needs: fields, truth
-- summary: How much each numeric field goes together with the truth: close to 1 or -1, the truth may leak into it.
-- formula: Pearson's r with the truth as a number, or with [truth = positive class]; NULL where one is constant
-- source: pandas.DataFrame.corrwith
-- parameter fields: names of fields, as inputs.age; all if NULL
-- example: FROM truth_correlation('churn', $window_start, $window_end) WHERE abs(value) > 0.9
CREATE TEMP MACRO truth_correlation(
    model, since, until, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', fields := NULL
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        coalesce(TRY_CAST(truth::VARCHAR AS DOUBLE), (truth::VARCHAR = positive_class)::DOUBLE) AS y,
        truth,
        mature,
        COLUMNS(lambda name: lapwing_chosen('number:', name, fields))
    FROM lapwing_labeled(model, since, until, as_of, stage)
    CROSS JOIN (SELECT d.positive_class FROM lapwing_described(model) AS d) AS described
),
found AS (
    SELECT
        c.labels,
        c.start,
        lapwing_coverage(c.truth) AS label_coverage,
        lapwing_maturity(c.mature) AS label_maturity,
        {
            'r': lapwing_corr(lapwing_bounded(COLUMNS('^number:(.*)')), lapwing_bounded(c.y)),
            'n': count(lapwing_bounded(COLUMNS('^number:(.*)')) + lapwing_bounded(c.y))
        } AS 'number:\1'
    FROM chosen AS c
    GROUP BY c.labels, c.start
)
SELECT
    unnest(u.labels),
    u.start AS window_start,
    lapwing_window_end(every, u.start, since, until) AS window_end,
    lapwing_field(u.name) AS field,
    u.s.r AS value,
    u.s.n AS sample_count,
    u.label_coverage,
    u.label_maturity
FROM (UNPIVOT found ON COLUMNS('^number:') INTO NAME name VALUE s) AS u
WHERE u.name <> 'number:'
ORDER BY ALL;
