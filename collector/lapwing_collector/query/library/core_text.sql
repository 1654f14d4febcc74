-- Pieces of the metrics of texts. What is a word and a sentence is told here alone, in RE2's dialect.

-- name: lapwing_words
-- The words of a text in small letters: letters and digits, with the marks and apostrophes within.
CREATE TEMP MACRO lapwing_words(x) AS regexp_extract_all(lower(x), '[\p{L}\p{N}][\p{L}\p{M}\p{N}''’]*');

-- name: lapwing_sentences
-- How many runs of words there are that a full stop, exclamation or question mark ends; not one within a word, 3.5.
CREATE TEMP MACRO lapwing_sentences(x) AS
len(regexp_extract_all(x, '[\p{L}\p{N}](?:[^.!?…。！？]|[.!?…]+[\p{L}\p{N}])*'));

-- name: lapwing_non_letters
-- The share of characters that are neither letters nor space; NULL for a text without characters.
CREATE TEMP MACRO lapwing_non_letters(x) AS
lapwing_ratio(len(regexp_extract_all(x, '[^\p{L}\p{M}\p{Z}\s]')), length(x));

-- name: lapwing_mean_of_texts
-- The mean of column `x` by segment and window. `rows` is the name of a CTE with labels, start, x and w.
CREATE TEMP MACRO lapwing_mean_of_texts(rows, every, since, until, confidence) AS TABLE
WITH means AS (
    SELECT r.labels, r.start, lapwing_mean(r.x, r.w) AS mean FROM query_table(rows) AS r GROUP BY r.labels, r.start
)
SELECT
    unnest(m.labels),
    m.start AS window_start,
    lapwing_window_end(every, m.start, since, until) AS window_end,
    m.mean.mean AS value,
    lapwing_at_least(0, lapwing_normal(m.mean.mean, m.mean.error, confidence).low) AS low,
    lapwing_normal(m.mean.mean, m.mean.error, confidence).high AS high,
    m.mean.n AS sample_count
FROM means AS m
ORDER BY ALL;

-- name: lapwing_described_text
-- The mean of a number that is told of each text.
CREATE TEMP MACRO lapwing_described_text(
    model, since, until, measure, segments, every, as_of, stage, weights, confidence
) AS TABLE
WITH described_texts AS (
    SELECT
        segments AS labels, lapwing_window_start(every, time, since) AS start, (measure)::DOUBLE AS x,
        lapwing_weight(weight, weights) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
)
FROM lapwing_mean_of_texts('described_texts', every, since, until, confidence);

-- name: lapwing_told_apart
-- Samples of the texts of both sides, and how a classifier tells them apart. Of a text 10 000 characters are read.
CREATE TEMP MACRO lapwing_told_apart(
    model, since, until, field, reference, reference_since, reference_until, segments, every, as_of, stage, samples,
    min_rows
) AS TABLE
SELECT d.*, lapwing_texts(d.seen, d.now) AS told
FROM lapwing_drawn(
    model, since, until,
    CASE WHEN field::VARCHAR <> '' THEN {'id': prediction_id, 'text': left(field::VARCHAR, 10000)} END,
    reference, reference_since, reference_until, segments, every, as_of, stage, samples, min_rows
) AS d;
