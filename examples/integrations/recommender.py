"""A recommender: a ranked list is one prediction, and what people took from it is its label.

pip install lapwing; afterwards: lapwing sql "FROM ndcg_at_k('movies', '2026-01-01', '2027-01-01', k := 3)"
"""

import random
from typing import Any

import lapwing

MOVIES = {f"movie {number}": ["drama", "comedy", "crime"][number % 3] for number in range(12)}


@lapwing.watch(model="movies", version="12", task="ranking")
def recommend(user: str, genre: str, k: int = 5) -> dict[str, Any]:
    """Rank movies, the best first, with the score of each."""
    taste = random.Random(user)  # noqa: S311  # so that a user likes the same movies every time
    scores = {movie: taste.random() + (of == genre) for movie, of in MOVIES.items()}
    best = sorted(scores, key=lambda movie: -scores[movie])[:k]
    return {
        "items": best,
        "scores": [scores[movie] for movie in best],
        "genres": [MOVIES[movie] for movie in best],
    }


def main() -> None:
    """Recommend to some people, and say an hour later what each of them watched, and how long."""
    lapwing.init(service="recommender")
    for number in range(40):
        genre = ("drama", "comedy", "crime")[number % 3]
        shown = recommend(f"user {number}", genre)["items"]
        prediction_id = lapwing.last_prediction_id()
        # Relevance in degrees: watched to the end, or half of it. A list of items is a label, too.
        lapwing.log_label(
            model="movies", prediction_id=prediction_id, label={shown[0]: 1.0, shown[2]: 0.5}, source="player"
        )
    lapwing.flush()


if __name__ == "__main__":
    main()
