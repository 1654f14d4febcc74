-- What texts are like, and whether those of a span can be told from those of another.

-- name: text_drift
-- group: text
-- needs:
-- summary: Drift of a text: how well a linear classifier tells the words of both sides apart, as the area under the
--   ROC curve: 0.5 for guessing. Drift above 0.55; with up to 1 000 texts in the reference above the 95th percentile
--   of what chance gives. `p_value` is the probability that chance gives as much; `drifted` is 1 or 0. Needs the
--   extra `lapwing[ml]` where the collector runs. `text_drift_words` and `text_drift_examples` say why.
-- formula: TF-IDF of the 20 000 most frequent words, logistic regression by gradient descent on half of either side,
--   area on the other half, p by 999 shuffles of its sides
-- source: sklearn.feature_extraction.text.TfidfVectorizer, sklearn.linear_model.SGDClassifier; method and thresholds
--   as in Evidently
-- parameter field: which texts: `inputs.review`; of each 10 000 characters are read, empty ones are left out
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter threshold: above which value it is drift; NULL for 0.55 or what chance gives
-- parameter samples: most texts of a side that are looked at: those whose ids have the least hashes, so that the
--   same are drawn each time, 2000
-- parameter min_rows: texts that each side must have, else `value` is NULL and `reason` says so, 100
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM text_drift('churn', $window_start, $window_end, inputs.review, reference := 'train')
CREATE TEMP MACRO text_drift(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    threshold := NULL, samples := 2000, min_rows := 100, reference := NULL
) AS TABLE
SELECT
    unnest(t.labels),
    t.start AS window_start,
    lapwing_window_end(every, t.start, since, until) AS window_end,
    t.told.statistic AS value,
    coalesce(threshold::DOUBLE, t.told.threshold) AS threshold,
    t.told.p_value AS p_value,
    (t.told.statistic > coalesce(threshold::DOUBLE, t.told.threshold))::INTEGER AS drifted,
    t.sample_count,
    t.reference_count,
    t.sampled,
    t.reference_name AS reference,
    coalesce(t.reason, t.told.reason) AS reason
FROM lapwing_told_apart(
    model, since, until, field, reference, reference_since, reference_until, segments, every, as_of, stage, samples,
    min_rows
) AS t
ORDER BY ALL;

-- name: text_drift_words
-- group: text
-- needs:
-- summary: The words by which `text_drift` tells both sides apart, with the share of the texts of either side that
--   have them. `side` is where a word points to: `current` or `reference`. No rows where there is no value.
-- formula: value: what the word's TF-IDF is multiplied with in the classifier's score, without sign
-- source: coef_ of sklearn.linear_model.SGDClassifier
-- parameter field: which texts: `inputs.review`
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter k: how many words of each side, up to 100, 10
-- parameter samples: most texts of a side that are looked at: those whose ids have the least hashes, so that the
--   same are drawn each time, 2000
-- parameter min_rows: texts that each side must have, else there is no value, 100
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM text_drift_words('churn', $window_start, $window_end, inputs.review, reference := 'train')
CREATE TEMP MACRO text_drift_words(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    k := 10, samples := 2000, min_rows := 100, reference := NULL
) AS TABLE
WITH told AS (
    SELECT t.labels, t.start, t.sample_count, t.reference_count, unnest(t.told.words) AS each
    FROM lapwing_told_apart(
        model, since, until, field, reference, reference_since, reference_until, segments, every, as_of, stage, samples,
        min_rows
    ) AS t
),
ranked AS (
    SELECT
        t.*,
        row_number() OVER (PARTITION BY t.labels, t.start, t.each.side ORDER BY t.each.weight DESC, t.each.word) AS place
    FROM told AS t
)
SELECT
    unnest(r.labels),
    r.start AS window_start,
    lapwing_window_end(every, r.start, since, until) AS window_end,
    r.each.side AS side,
    r.each.word AS word,
    r.each.weight AS value,
    r.each.sample_share AS sample_share,
    r.each.reference_share AS reference_share,
    r.sample_count,
    r.reference_count
FROM ranked AS r
WHERE r.place <= k
ORDER BY r.labels, window_start, side, value DESC, word;

-- name: text_drift_examples
-- group: text
-- needs:
-- summary: The texts that `text_drift` tells apart most surely, by the ids of their predictions: those of the span
--   that look least as if from the reference, and the other way round. No rows where there is no value.
-- formula: value: the classifier's score of a text it had not seen, without sign: log odds that it is of its side
-- source: decision_function of sklearn.linear_model.SGDClassifier
-- parameter field: which texts: `inputs.review`
-- parameter reference_since: begin of a span to compare with instead of a reference
-- parameter reference_until: its end, exclusive
-- parameter k: how many texts of each side, up to 100, 10
-- parameter samples: most texts of a side that are looked at: those whose ids have the least hashes, so that the
--   same are drawn each time, 2000
-- parameter min_rows: texts that each side must have, else there is no value, 100
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM text_drift_examples('churn', $window_start, $window_end, inputs.review, reference := 'train')
CREATE TEMP MACRO text_drift_examples(
    model, since, until, field, reference_since := NULL, reference_until := NULL,
    segments := {'segment': 'all'}, every := NULL, as_of := NULL, stage := 'production',
    k := 10, samples := 2000, min_rows := 100, reference := NULL
) AS TABLE
WITH told AS (
    SELECT t.labels, t.start, t.sample_count, t.reference_count, unnest(t.told.examples) AS each
    FROM lapwing_told_apart(
        model, since, until, field, reference, reference_since, reference_until, segments, every, as_of, stage, samples,
        min_rows
    ) AS t
),
ranked AS (
    SELECT
        t.*,
        row_number() OVER (PARTITION BY t.labels, t.start, t.each.side ORDER BY t.each.score DESC, t.each.id) AS place
    FROM told AS t
)
SELECT
    unnest(r.labels),
    r.start AS window_start,
    lapwing_window_end(every, r.start, since, until) AS window_end,
    r.each.side AS side,
    r.each.id AS prediction_id,
    r.each.score AS value,
    r.sample_count,
    r.reference_count
FROM ranked AS r
WHERE r.place <= k
ORDER BY r.labels, window_start, side, value DESC, prediction_id;

-- name: text_length
-- group: text
-- needs:
-- summary: Mean number of characters of a text.
-- formula: sum(w * length(text)) / sum(w) over rows with a text
-- source: Python's len of a str; interval: normal
-- parameter field: which texts: `inputs.review`, or any expression over a prediction's columns
-- example: FROM text_length('churn', $window_start, $window_end, inputs.review)
CREATE TEMP MACRO text_length(
    model, since, until, field, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', weights := 1, confidence := 0.95
) AS TABLE
FROM lapwing_described_text(
    model, since, until, length(field::VARCHAR), segments, every, as_of, stage, weights, confidence
);

-- name: text_words
-- group: text
-- needs:
-- summary: Mean number of words of a text.
-- formula: sum(w * words) / sum(w) over rows with a text; a word is letters and digits, with the marks and
--   apostrophes within
-- source: Python's re.findall; interval: normal
-- parameter field: which texts: `inputs.review`, or any expression over a prediction's columns
-- example: FROM text_words('churn', $window_start, $window_end, inputs.review)
CREATE TEMP MACRO text_words(
    model, since, until, field, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', weights := 1, confidence := 0.95
) AS TABLE
FROM lapwing_described_text(
    model, since, until, len(lapwing_words(field::VARCHAR)), segments, every, as_of, stage, weights, confidence
);

-- name: text_sentences
-- group: text
-- needs:
-- summary: Mean number of sentences of a text.
-- formula: sum(w * sentences) / sum(w) over rows with a text; a sentence is what has a word and ends with . ! ? … or
--   with the text; a stop within a word or a number, as in 3.5, ends none
-- source: Python's re.findall; interval: normal
-- parameter field: which texts: `inputs.review`, or any expression over a prediction's columns
-- example: FROM text_sentences('churn', $window_start, $window_end, inputs.review)
CREATE TEMP MACRO text_sentences(
    model, since, until, field, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', weights := 1, confidence := 0.95
) AS TABLE
FROM lapwing_described_text(
    model, since, until, lapwing_sentences(field::VARCHAR), segments, every, as_of, stage, weights, confidence
);

-- name: text_non_letter_share
-- group: text
-- needs:
-- summary: Mean share of the characters of a text that are neither letters nor space.
-- formula: sum(w * characters / length(text)) / sum(w) over rows with a text that is not empty
-- source: unicodedata.category, as Evidently's NonLetterCharacterPercentage / 100; interval: normal
-- parameter field: which texts: `inputs.review`, or any expression over a prediction's columns
-- example: FROM text_non_letter_share('churn', $window_start, $window_end, inputs.review)
CREATE TEMP MACRO text_non_letter_share(
    model, since, until, field, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', weights := 1, confidence := 0.95
) AS TABLE
FROM lapwing_described_text(
    model, since, until, lapwing_non_letters(field::VARCHAR), segments, every, as_of, stage, weights, confidence
);

-- name: unknown_word_share
-- group: text
-- needs:
-- summary: Mean share of the words of a text that no text of another span has: out of vocabulary. NULL where that span
--   has no words.
-- formula: sum(w * words that are unknown / words) / sum(w) over rows with a word; in small letters, each time that a
--   word comes
-- source: Python's set of words; interval: normal
-- parameter field: which texts: `inputs.review`, or any expression over a prediction's columns
-- parameter reference_since: begin of a span whose words are known, instead of those of a reference
-- parameter reference_until: its end, exclusive
-- parameter reference: name of a reference whose rows are kept; without it, and without a span, the newest of
--   the role `drift` that has rows
-- example: FROM unknown_word_share('churn', $window_start, $window_end, inputs.review, reference := 'train')
CREATE TEMP MACRO unknown_word_share(
    model, since, until, field, reference_since := NULL, reference_until := NULL, segments := {'segment': 'all'}, every := NULL,
    as_of := NULL, stage := 'production', weights := 1, confidence := 0.95, reference := NULL
) AS TABLE
WITH vocabulary AS (
    SELECT unnest(lapwing_words(field::VARCHAR)) AS word
    FROM lapwing_predictions(model, reference_since, reference_until, as_of, stage)
    UNION
    SELECT unnest(lapwing_words(field::VARCHAR)) AS word
    FROM lapwing_referenced(model, reference, reference_since)
),
chosen AS (
    SELECT
        row_number() OVER () AS number,
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        lapwing_words(field::VARCHAR) AS words,
        lapwing_weight(weight, weights) AS w
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
each AS (
    SELECT c.number, unnest(c.words) AS word FROM chosen AS c
),
unknown AS (
    SELECT e.number, count(*) - count(v.word) AS n
    FROM each AS e
    LEFT JOIN vocabulary AS v ON v.word = e.word
    GROUP BY e.number
),
shares AS (
    SELECT
        c.labels, c.start, c.w,
        CASE WHEN EXISTS (FROM vocabulary) THEN lapwing_ratio(u.n, len(c.words)) END AS x
    FROM chosen AS c
    LEFT JOIN unknown AS u ON u.number = c.number
)
FROM lapwing_mean_of_texts('shares', every, since, until, confidence);

-- name: trigger_word_share
-- group: text
-- needs:
-- summary: Share of texts that have one of some words, whole and in small or capital letters. `pattern_share` looks
--   for a regular expression.
-- formula: rows with one of the words / rows with a text, each counted once
-- source: Python's set of words; interval: Wilson (1927)
-- parameter field: which texts: `inputs.review`, or any expression over a prediction's columns
-- parameter words: which words: `['refund', 'angry']`
-- example: FROM trigger_word_share('churn', $window_start, $window_end, inputs.review, ['refund', 'angry'])
CREATE TEMP MACRO trigger_word_share(
    model, since, until, field, words, segments := {'segment': 'all'}, every := NULL, as_of := NULL,
    stage := 'production', confidence := 0.95
) AS TABLE
WITH chosen AS (
    SELECT
        segments AS labels,
        lapwing_window_start(every, time, since) AS start,
        list_has_any(
            lapwing_words(field::VARCHAR), list_transform(words::VARCHAR[], lambda word: lower(word))
        )::INTEGER AS hit
    FROM lapwing_predictions(model, since, until, as_of, stage)
),
sums AS (
    SELECT c.labels, c.start, sum(c.hit) AS hits, count(c.hit) AS n FROM chosen AS c GROUP BY c.labels, c.start
)
FROM lapwing_share_of('sums', every, since, until, confidence);
