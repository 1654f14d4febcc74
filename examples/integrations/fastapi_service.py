"""A service whose endpoint is watched, and that passes on what becomes of its predictions.

pip install lapwing fastapi uvicorn
uvicorn fastapi_service:app
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header
from pydantic import BaseModel

import lapwing


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Name the service, and send what is left before it stops."""
    lapwing.init(service="loans", environment="production", retry_for_s=300)
    yield
    lapwing.flush(timeout_s=5)


app = FastAPI(lifespan=lifespan)


class Application(BaseModel):
    """Somebody asks for a loan."""

    id: str
    income: float
    amount: float
    purpose: str


class Outcome(BaseModel):
    """Whether a loan was paid back."""

    prediction_id: str
    paid_back: bool


async def tagged(x_country: Annotated[str, Header()] = "unknown") -> AsyncIterator[None]:
    """Tag every prediction of the request with the country that it came from."""
    with lapwing.scope(tags={"country": x_country}):
        yield


@lapwing.watch(model="loans", version="7", request_id="application.id", positive_class=True)
def decide(application: Application) -> dict[str, Any]:
    """Decide: the model itself, in a real service."""
    score = 1 / (1 + application.amount / max(application.income, 1.0))
    return {"value": score > 0.5, "score": score}


@app.post("/loans", dependencies=[Depends(tagged)])
async def loans(application: Application) -> dict[str, Any]:
    """Answer with the prediction's id, by which its outcome is told later."""
    return {**decide(application), "prediction_id": lapwing.last_prediction_id()}


@app.post("/outcomes", status_code=202)
async def outcomes(outcome: Outcome) -> None:
    """Pass on the truth, months later."""
    lapwing.log_label(
        model="loans", label=outcome.paid_back, prediction_id=outcome.prediction_id, source="ledger"
    )
