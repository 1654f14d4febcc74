-- What the quality of data is compared with, where that is a stored reference.

-- name: lapwing_stored
-- The newest version of a stored reference, by field, where no span is given to compare with instead.
CREATE TEMP MACRO lapwing_stored(model, reference, reference_since) AS TABLE
SELECT b.field AS field_name, b.binning_id, b.counts, b.minimum, b.maximum
FROM lapwing_own_table('reference_bins', model) AS b
JOIN lapwing_drift_reference(model, reference) AS v
    ON b.reference = v.reference_name AND b.version = v.reference_version
WHERE lower(b.table_name) = lower(model) AND reference_since::TIMESTAMP IS NULL;

-- name: lapwing_stored_bounds
-- How many finite numbers it has, and their extremes.
CREATE TEMP MACRO lapwing_stored_bounds(model, reference, reference_since) AS TABLE
SELECT
    'number:' || s.field_name AS name,
    list_sum(s.counts[3:])::BIGINT AS n,
    s.minimum AS least,
    s.maximum AS most
FROM lapwing_stored(model, reference, reference_since) AS s
WHERE s.minimum IS NOT NULL;

-- name: lapwing_stored_categories
-- Which values it has, how many rows each. A field that has others, which it does not tell, is left out.
CREATE TEMP MACRO lapwing_stored_categories(model, reference, reference_since) AS TABLE
SELECT
    'text:' || s.field_name AS name,
    unnest(
        list_filter(
            list_transform(k.categories, lambda category, place: {'key': category, 'value': s.counts[place + 2]}),
            lambda entry: entry.value > 0
        )
    ) AS entry
FROM lapwing_stored(model, reference, reference_since) AS s
JOIN lapwing_own_table('binnings', model) AS k ON k.binning_id = s.binning_id
WHERE k.kind = 'category' AND s.counts[2] = 0;
