"""A model that streams its answer: one row when the stream ends, with the embedding of the question.

pip install lapwing scikit-learn
"""

from collections.abc import Iterator

from sklearn.feature_extraction.text import HashingVectorizer

import lapwing

FACTS = {
    "rain": "It rains where warm air rises.",
    "bird": "A lapwing is a bird that calls when it is alarmed.",
}
vectorize = HashingVectorizer(n_features=16, alternate_sign=False)


def embed(text: str) -> list[float]:
    """Embed a text; a real model would do it better."""
    return [float(part) for part in vectorize.transform([text]).toarray()[0]]


@lapwing.watch(
    model="answers",
    version="3",
    reduce=lambda words: {"text": "".join(words), "pieces": len(words)},
)
def stream(question: str, embedding: list[float]) -> Iterator[str]:
    """Answer piece by piece; a consumer that stops early ends the row, too."""
    facts = [fact for word, fact in FACTS.items() if word in question.lower()]
    if not facts:
        lapwing.annotate(fallback=True)
    for word in (facts or ["I do not know."])[0].split():
        yield f"{word} "


def answer(question: str) -> str:
    """Answer a question."""
    return "".join(stream(question, embed(question)))


def main() -> None:
    """Answer some questions."""
    lapwing.init(service="answers")
    for question in ("Why does it rain?", "What bird is it?", "Who wins?"):
        print(answer(question))
    lapwing.flush()


if __name__ == "__main__":
    main()
