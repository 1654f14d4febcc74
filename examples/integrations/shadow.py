"""A new model that watches along: it sees the same requests, nobody sees its answers, and both are compared.

pip install lapwing; afterwards: lapwing sql "FROM shadow_disagreement('fraud', '2026-01-01', '2027-01-01')"
"""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

import lapwing

# Beside the request, so that a slow challenger makes nobody wait; when both are busy, it is skipped.
pool = ThreadPoolExecutor(2, thread_name_prefix="shadow")


@lapwing.watch(model="fraud", version="8", request_id="request", exclude=["request"])
def champion(request: str, amount: float, country: str) -> dict[str, object]:
    """Judge, for real."""
    score = min(amount / 1000, 1.0) * (0.5 if country == "NL" else 1.0)
    return {"value": score > 0.4, "score": score}


@lapwing.watch(model="fraud", version="9", stage="shadow", request_id="request", exclude=["request"])
def challenger(request: str, amount: float, country: str) -> dict[str, object]:
    """Judge as the next version would."""
    score = min(amount / 900, 1.0) * (0.6 if country == "NL" else 1.0)
    return {"value": score > 0.4, "score": score}


def judge(request: str, amount: float, country: str) -> bool:
    """Answer as the champion does; what goes wrong with the challenger is in its row, and nowhere else."""
    pool.submit(copy_context().run, challenger, request, amount, country)
    return bool(champion(request, amount, country)["value"])


def main() -> None:
    """Judge some payments."""
    lapwing.init(service="payments")
    for number in range(200):
        judge(f"payment-{number}", (number * 37) % 1000, ("NL", "FR")[number % 2])
    pool.shutdown()
    lapwing.flush()


if __name__ == "__main__":
    main()
