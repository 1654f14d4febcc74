"""The bytes that requests in hand share."""

import asyncio

import pytest

from lapwing_collector.errors import ConfigError, UnavailableError
from lapwing_collector.receive import Limits
from lapwing_collector.receive.budget import Budget, Claim


async def settle() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_bytes_are_given_in_the_order_of_asking() -> None:
    """Who asks for little does not overtake who waits for much."""

    async def scenario() -> list[str]:
        budget, served = Budget(10), []

        async def take(name: str, size: int) -> None:
            await budget.take(size, within_s=60)
            served.append(name)

        async with asyncio.TaskGroup() as tasks:
            for name, size in [("first", 8), ("much", 9), ("little", 1)]:
                tasks.create_task(take(name, size))
            await settle()
            assert served == ["first"]
            budget.give_back(8)
        return served

    assert asyncio.run(scenario()) == ["first", "much", "little"]


def test_giving_up_lets_the_next_go_on() -> None:
    """Who waits too long is refused and leaves the line; who is behind in it gets what is there."""

    async def scenario() -> None:
        budget = Budget(10)
        await budget.take(8, within_s=60)
        much = asyncio.create_task(budget.take(9, within_s=0.02))
        await settle()
        behind = asyncio.create_task(budget.take(2, within_s=60))
        with pytest.raises(UnavailableError):
            await much
        await behind

    asyncio.run(scenario())


def test_a_cancelled_wait_takes_nothing() -> None:
    """A request that is cancelled while it waits leaves all bytes to others."""

    async def scenario() -> None:
        budget = Budget(10)
        await budget.take(10, within_s=60)
        waiting = asyncio.create_task(budget.take(10, within_s=60))
        await settle()
        waiting.cancel()
        await settle()
        budget.give_back(10)
        await budget.take(10, within_s=0)

    asyncio.run(scenario())


def test_a_claim_grows_and_is_given_back_whole() -> None:
    """A claim takes only what it lacks, and gives back everything at once."""

    async def scenario() -> None:
        budget = Budget(10)
        claim = Claim(budget, patience_s=0)
        for size in (4, 3, 10, 10):
            await claim.cover(size)
        with pytest.raises(UnavailableError):
            await claim.cover(11)
        claim.release()
        claim.release()
        await Claim(budget, patience_s=0).cover(10)

    asyncio.run(scenario())


def test_all_requests_together_may_use_no_less_than_one() -> None:
    """Limits under which the largest request could never be taken are refused."""
    with pytest.raises(ConfigError, match="in_flight_bytes"):
        Limits(body_bytes=2, in_flight_bytes=1)
