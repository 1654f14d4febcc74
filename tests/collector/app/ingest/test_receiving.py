"""Clients of a collector that is not there yet, or not any more: held, or told to try again."""

import asyncio
import http.client
import json
from contextlib import closing

import pytest

from helpers.decode_json import json_request
from helpers.receive_server import PROTOBUF, Answer, Recorder
from lapwing_collector.app.ingest.receiving import Receiving
from lapwing_collector.config import Settings, load_settings


@pytest.fixture
def settings() -> Settings:
    flags = {"http.listen": "127.0.0.1:0", "grpc.listen": "127.0.0.1:0"}
    return load_settings(None, flags=flags, environment={})


async def ready(address: str) -> int:
    def ask() -> int:
        with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
            connection.request("GET", "/readyz")
            return Answer.read(connection).status

    return await asyncio.to_thread(ask)


class Client:
    """One request, sent at once, whose answer is read when asked."""

    def __init__(self, address: str) -> None:
        self._connection = http.client.HTTPConnection(address, timeout=60)
        self._connection.request("POST", "/v1/logs", b"records", PROTOBUF)

    async def status(self) -> int:
        answer = await asyncio.to_thread(Answer.read, self._connection)
        self._connection.close()
        return answer.status


def test_requests_wait_until_there_is_somebody_to_take_them(settings: Settings) -> None:
    """Who comes early is answered 200 once the collector is there; before, it is not ready."""

    async def scenario() -> tuple[list[int], int]:
        receiving = Receiving(settings)
        await receiving.start({})
        early = Client(receiving.address)
        before = await ready(receiving.address)
        receiving.open(recorder, healthy=lambda: True, replaying=lambda: False)
        statuses = [before, await ready(receiving.address)]
        answered = await early.status()
        await receiving.stop()
        return statuses, answered

    recorder = Recorder()
    assert asyncio.run(scenario()) == ([503, 200], 200)
    assert recorder.bodies == [b"records"]


def test_who_still_waits_at_the_end_is_asked_to_try_again(settings: Settings) -> None:
    """A collector that ends before it could take anything answers 503, not with a closed connection."""

    async def scenario() -> int:
        receiving = Receiving(settings)
        await receiving.start({})
        early = Client(receiving.address)
        await ready(receiving.address)  # by now the request is in
        await receiving.stop()
        status = await early.status()
        await receiving.stop()
        return status

    assert asyncio.run(scenario()) == 503


def test_records_that_are_rejected_at_the_door_are_in_the_books(settings: Settings) -> None:
    """Records of a request in JSON that can not be read are booked as received and rejected."""

    async def scenario() -> tuple[int, int]:
        receiving = Receiving(settings)
        await receiving.start({})
        receiving.open(Recorder(), healthy=lambda: True, replaying=lambda: False)
        body = json_request({"eventName": "good"}, 7, {"eventName": 7})

        def post() -> None:
            with closing(http.client.HTTPConnection(receiving.address, timeout=60)) as connection:
                connection.request("POST", "/v1/logs", body, {"Content-Type": "application/json"})
                assert json.loads(Answer.read(connection).body)["partialSuccess"]["rejectedLogRecords"] == "2"

        await asyncio.to_thread(post)
        await receiving.stop()
        books = receiving.accounts.read()
        return books.received, books.rejected

    assert asyncio.run(scenario()) == (2, 2)
