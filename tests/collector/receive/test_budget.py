"""The bytes that requests in hand share."""

import asyncio

import pytest

from lapwing_collector.app.ingest import ingest
from lapwing_collector.errors import UnavailableError
from lapwing_collector.receive import Accepted, Intake, Limits
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
    """A claim takes only what it lacks, three quarters of all at most, and gives everything back at once."""

    async def scenario() -> None:
        budget = Budget(10)
        claim = Claim(budget, patience_s=0)
        for size in (4, 3, 7, 11):
            await claim.cover(size)
        await budget.take(3, within_s=0)
        with pytest.raises(UnavailableError):
            await budget.take(1, within_s=0)
        budget.give_back(3)
        claim.release()
        claim.release()
        await budget.take(10, within_s=0)

    asyncio.run(scenario())


def test_waiting_for_room_and_for_an_answer_share_one_deadline() -> None:
    """A request that waited for room has only the rest of its time until it is told to try again."""

    async def never(_: bytes) -> Accepted:
        await asyncio.Event().wait()
        return Accepted()

    async def scenario() -> None:
        intake = Intake(never, Limits(answer_s=600))
        claim = intake.claim()
        claim.waited_s = 599.99
        with pytest.raises(UnavailableError, match="too long"):
            await intake.take(b"", claim)

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_while_the_collector_starts_requests_are_held_longer() -> None:
    """A request that comes before anybody can take it waits for that as long as it may be held."""

    async def soon(_: bytes) -> Accepted:
        await settle()
        return Accepted()

    async def scenario() -> Accepted:
        intake = Intake(soon, Limits(answer_s=0, held_s=20), starting=lambda: True)
        return await intake.take(b"", intake.claim())

    assert asyncio.run(scenario()) == Accepted()


def test_nothing_is_waited_for_longer_than_three_seconds() -> None:
    """By default, who waits as long as it may, for room and then for its turn, has time left to be stored."""
    assert Limits().room_wait_s + ingest._QUEUE_S < 0.75 * Limits().answer_s
    assert Limits().turn_wait_s < Limits().answer_s == 3
    assert Limits().answer_s > ingest._PATIENCE_S


def test_a_wait_that_is_cancelled_when_it_was_served_gives_back() -> None:
    """What a request was given while it was being cancelled goes to others, and is lost to none."""

    async def scenario() -> None:
        budget = Budget(10)
        await budget.take(10, within_s=60)
        served = asyncio.create_task(budget.take(8, within_s=60))
        behind = asyncio.create_task(budget.take(9, within_s=60))
        await settle()
        budget.give_back(10)
        served.cancel()
        await settle()
        assert served.cancelled()
        await behind
        await budget.take(1, within_s=0)

    asyncio.run(asyncio.wait_for(scenario(), 20))
