"""The flights and the trained model, made once for all tests of the demo's parts."""

import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from lapwing_collector.demo.flights import load_flights, training
from lapwing_collector.demo.model import Service, compile_service, train


@pytest.fixture(scope="session")
def flights() -> pd.DataFrame:
    """Every flight that departed; tests must not change it."""
    return load_flights()


@pytest.fixture(scope="session")
def pipeline(flights: pd.DataFrame) -> Pipeline:
    """The model as scikit-learn fitted it."""
    return train(training(flights))


@pytest.fixture(scope="session")
def service(pipeline: Pipeline) -> Service:
    """The model as it is served."""
    return compile_service(pipeline)
