"""Web endpoints, watched as they are, behind a real server."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from threading import Thread
from typing import TYPE_CHECKING, Annotated, Any

import pytest
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

import lapwing
from lapwing.testing import Recorded, capture

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Order(BaseModel):
    """A body."""

    id: str
    amount: float


async def tenant() -> AsyncIterator[str]:
    """Open a scope for the request."""
    with lapwing.scope(tags={"tenant": "blue"}):
        yield "blue"


Tenant = Annotated[str, Depends(tenant)]


def application(*, watched: bool) -> FastAPI:
    """Make an application whose endpoints are watched, or the same ones plain."""
    app = FastAPI()

    def maybe(**options: Any) -> Any:
        return lapwing.watch(**options) if watched else lambda endpoint: endpoint

    @app.post("/score")
    @maybe(model="orders", prediction_id="order.id", exclude=["tenant"])
    async def score(order: Order, tenant: Tenant, limit: float = 10) -> dict[str, Any]:
        """Score an order."""
        return {"score": order.amount / limit, "tenant": tenant}

    @app.get("/plain/{number}")
    @maybe(model="numbers")
    def plain(number: int, request: Request) -> int:
        """Double a number."""
        return 2 * number

    @maybe(model="words")
    async def words(count: int) -> AsyncIterator[str]:
        for number in range(count):
            yield f"{number} "

    @app.get("/words")
    def stream(count: int = 3) -> StreamingResponse:
        """Stream what a generator gives."""
        return StreamingResponse(words(count))

    @maybe(model="inner", request_id="trace")
    async def inner(order: Order, trace: str) -> float:
        if order.amount < 0:
            raise HTTPException(422, "no such amount")
        return order.amount

    @app.post("/outer/{trace}")
    async def outer(order: Order, trace: str) -> dict[str, Any]:
        """Tell the id of the prediction that was made."""
        return {"value": await inner(order, trace), "id": lapwing.last_prediction_id()}

    return app


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Keep what is recorded."""
    with capture() as kept:
        yield kept


@pytest.fixture
def address(recorded: Recorded) -> Iterator[str]:  # comes before the server
    """Serve the watched application."""
    config = uvicorn.Config(application(watched=True), port=0, log_config=None, ws="none")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    socket.listen()
    thread = Thread(target=server.run, kwargs={"sockets": [socket]})
    thread.start()
    yield f"http://127.0.0.1:{socket.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    socket.close()


def ask(url: str, body: object = None) -> Any:
    """Send a request, and give the answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(
        url, data, {"content-type": "application/json", "authorization": "secret"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def test_the_api_is_the_same() -> None:
    """The schema of the watched application is that of the plain one."""
    assert application(watched=True).openapi() == application(watched=False).openapi()


def test_endpoints_answer_and_are_recorded(recorded: Recorded, address: str) -> None:
    """Bodies, ids, dependencies and defaults are recorded by name, a request's headers are not."""
    assert ask(f"{address}/score?limit=4", {"id": "o-1", "amount": 2}) == {"score": 0.5, "tenant": "blue"}
    assert ask(f"{address}/plain/4") == 8
    order, number = recorded.predictions
    assert order.inputs == {"order": {"id": "o-1", "amount": 2.0}, "limit": 4.0}
    assert (order.prediction_id, order.attributes["tenant"]) == ("o-1", "blue")
    assert order.output == {"score": 0.5, "tenant": "blue"}
    assert number.inputs == {"number": 4, "request": "GET /plain/4"}
    assert "secret" not in str(recorded.records)


def test_streams_ids_and_refusals_reach_the_client(recorded: Recorded, address: str) -> None:
    """A stream is a prediction, its caller knows the last id, and an endpoint's own error is its answer."""
    with urllib.request.urlopen(f"{address}/words") as answer:
        assert answer.read() == b"0 1 2 "
    made = ask(f"{address}/outer/r-1", {"id": "o-1", "amount": 2})
    with pytest.raises(urllib.error.HTTPError, match="422") as refused:
        ask(f"{address}/outer/r-2", {"id": "o-2", "amount": -1})
    with refused.value:
        assert json.load(refused.value) == {"detail": "no such amount"}
    streamed, known, failed = recorded.predictions
    assert streamed.output == {"value": "0 1 2 "}
    assert (known.prediction_id, known.attributes["ml.request.id"]) == (made["id"], "r-1")
    assert failed.attributes["error.type"] == "fastapi.exceptions.HTTPException"
    assert failed.attributes["ml.request.id"] == "r-2"
