"""Addresses of databases and buckets: read once, and the same for all that ask."""

from pathlib import Path
from typing import Any

import pytest

from lapwing_collector.app.places.lake_place import lake_of
from lapwing_collector.app.places.state_place import state_of
from lapwing_collector.config import Settings, load_settings
from lapwing_collector.engine.place import CatalogServer, bucket_at
from lapwing_collector.errors import ConfigError
from lapwing_collector.model.addresses import (
    BucketAddress,
    ServerAddress,
    bucket_address,
    catalog_address,
    state_address,
)
from lapwing_collector.state import PostgresServer

GOOD = [
    "postgresql://u@h/d",
    "postgres://u:hush@h.example.org:65/d?sslmode=verify-full",
    "POSTGRESQL://u@[::1]:5433/d?sslmode=disable",
    "postgresql://u:p%40%2Fss@h/d%20e",
    "postgresql://u@/d?host=/run/postgresql",
    "postgresql://u:hush@h/d?host=other.example.org",
]
BAD = [
    "",
    "folder/file.sqlite",
    "mysql://u:hush@h/d",
    "postgresql://h/d",
    "postgresql://u:hush@h",
    "postgresql://u:hush@h/",
    "postgresql://u:hush@h/d/e",
    "postgresql://u:hush@h/d%2Fe",
    "postgresql://u:hush@/d",
    "postgresql://u:hush@h:port/d",
    "postgresql://u:hush@h:0/d",
    "postgresql://u:hush@h:65536/d",
    "postgresql://u:hush@[h/d",
    "postgresql://u:h/ush@h/d",
    "postgresql://u:h#ush@h/d",
    "postgresql://u:hush@h/d#more",
    "postgresql://u:hush@h/d?pool=3",
    "postgresql://u:hush@h/d?sslmode=",
    "postgresql://u:hush@h/d?sslmode=on",
]
BUCKETS = ["s3://b", "s3://b/p/q/", "gs://b/p"]
NO_BUCKETS = ["s3://", "s3:///p", "az://b/p", "s3://b?x=1", "gs://b/p#x", "file:///lake"]


def configured(name: str, value: str) -> Settings:
    """Settings that say one thing."""
    return load_settings(None, flags={"data": Path("/data"), name: value}, environment={})


def refusal(ask: Any, *args: str) -> str | None:
    """Why something is refused; None where it is not."""
    try:
        ask(*args)
    except ConfigError as error:
        return str(error)
    return None


def test_an_address_is_taken_apart() -> None:
    """Each part is what it stands for, and what is shown of it is the address without the password."""
    assert catalog_address("postgres://a%40b:p%3Ass%2F@db:65/x%20y?sslmode=require") == ServerAddress(
        host="db",
        port=65,
        database="x y",
        user="a@b",
        password="p:ss/",
        parameters={"sslmode": "require"},
        shown="postgresql://a%40b@db:65/x%20y?sslmode=require",
    )
    assert state_address("postgresql+pg8000://u@/d?host=/run/pg&sslrootcert=x") == ServerAddress(
        host="/run/pg",
        port=5432,
        database="d",
        user="u",
        password=None,
        parameters={"sslrootcert": "x"},
        shown="postgresql://u@/d?host=/run/pg&sslrootcert=x",
    )
    assert bucket_address("gs://b/p/q/") == BucketAddress("gs", "b/p/q")


@pytest.mark.parametrize("text", GOOD + BAD)
def test_settings_and_databases_agree_on_addresses(text: str) -> None:
    """What settings let pass is an address to what connects, and what they refuse is refused alike."""
    of_state = refusal(PostgresServer, text)
    of_catalog = refusal(CatalogServer.of, text)
    assert refusal(configured, "state.url", text) == of_state
    assert refusal(configured, "lake.catalog", text) == of_catalog
    assert (of_state is None) == (of_catalog is None) == (text in GOOD)
    if of_state is None:
        assert "hush" not in state_of(configured("state.url", text)).name
        assert "hush" not in str(lake_of(configured("lake.catalog", text)))
    else:
        assert "hush" not in of_state


@pytest.mark.parametrize(
    ("text", "state", "catalog"),
    [
        ("postgresql://u@h/d?sslmode=allow", False, True),
        ("postgresql+pg8000://u@h/d", True, False),
    ],
)
def test_drivers_differ_in_what_they_know(text: str, state: bool, catalog: bool) -> None:
    """A mode that only libpq has, and a scheme that names the other driver, are for one of them."""
    for name, connects, expected in (
        ("state.url", PostgresServer, state),
        ("lake.catalog", CatalogServer.of, catalog),
    ):
        told = refusal(connects, text)
        assert (told is None) == expected
        assert refusal(configured, name, text) == told


@pytest.mark.parametrize("text", BUCKETS + NO_BUCKETS)
def test_settings_and_stores_agree_on_addresses(text: str) -> None:
    """What settings let pass is a bucket to what reads files, and what they refuse is refused alike."""
    told = refusal(bucket_at, text)
    assert (told is None) == (text in BUCKETS)
    assert refusal(configured, "lake.data", text) == told
