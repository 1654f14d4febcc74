"""Settings say where a lake is; no secret of them is told again."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from lapwing_collector.app.places.lake_place import expect_lake, lake_of
from lapwing_collector.config import load_settings
from lapwing_collector.engine.place import Bucket, CatalogFile, CatalogServer, Folder, Place, Remote
from lapwing_collector.errors import ConfigError, DataDirectoryError

KEYS = {"lake.s3.access_key": "AKIA", "lake.s3.secret_key": "very secret"}


def place(**flags: Any) -> Place:
    return lake_of(load_settings(None, flags={"data": Path("/data"), **flags}, environment={}))


def test_without_settings_a_lake_is_in_the_data_directory() -> None:
    """Catalog and files are in one folder, whose name stands for both."""
    assert place() == Place(CatalogFile(Path("/data/lake/catalog.sqlite")), Folder(Path("/data/lake/data")))
    assert (place().folder, str(place()), place().ports) == (Path("/data/lake"), "/data/lake", ())
    assert not place().shared


def test_a_lake_that_several_write() -> None:
    """The address of a database may have the password in it or beside it; the bucket has its keys."""
    told = place(**{"lake.catalog": "postgres://me@db:65/lake?sslmode=require", "lake.password": "pass word"})
    assert told.catalog == CatalogServer("db", 65, "lake", "me", "pass word", {"sslmode": "require"})
    told = place(**{"lake.catalog": "postgresql://me:p%40ss@db/lake", "lake.data": "s3://b/p/q/", **KEYS})
    assert told.catalog == CatalogServer("db", 5432, "lake", "me", "p@ss")
    assert told.files == Bucket(Remote("s3://b/p/q"), access_key="AKIA", secret_key="very secret")
    assert (told.prefix, told.ports, told.shared) == ("s3://b/p/q/", (53, 443, 5432), True)
    assert str(told) == "postgresql://me@db:5432/lake with s3://b/p/q"


def test_other_stores_and_folders() -> None:
    """Google's store is reached by its S3 interface, others by their endpoint, and a folder by its path."""
    google = place(**{"lake.data": "gs://b/p"}).files
    assert google == Bucket(Remote("s3://b/p"), endpoint="storage.googleapis.com")
    own = {"lake.s3.endpoint": "minio:9000", "lake.s3.url_style": "path", "lake.s3.use_ssl": "false"}
    files = place(**{"lake.data": "s3://b", **own}).files
    assert files == Bucket(Remote("s3://b"), endpoint="minio:9000", path_style=True, tls=False)
    assert place(**{"lake.data": "/mnt/lake"}).files == Folder(Path("/mnt/lake"))
    assert files.root / "schema/table" / "x.parquet" == Remote("s3://b/schema/table/x.parquet")


def test_secrets_are_told_to_nobody() -> None:
    """Neither what people see of a place has them, nor what attaches it; a query process is handed them."""
    secrets = {"lake.catalog": "postgresql://me@db/lake", "lake.password": "hush", "lake.data": "s3://b"}
    told = place(**secrets, **KEYS)
    *_, attaching = told.attachment(read_only=True)
    for text in (str(told), repr(told), attaching, told.catalog.attached("x")):
        assert "hush" not in text
        assert "very secret" not in text
    assert pickle.loads(pickle.dumps(told)) == told


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"lake.catalog": "mysql://me@db/lake"}, "lake.catalog: expected an address such as"),
        ({"lake.catalog": "postgresql://db/lake"}, "lake.catalog: expected an address such as"),
        ({"lake.catalog": "postgresql://me@db"}, "lake.catalog: expected an address such as"),
        ({"lake.catalog": "postgresql://me@db:x/lake"}, "lake.catalog: expected an address such as"),
        ({"lake.catalog": "postgresql://me@db/l?tls=1"}, "lake.catalog: tls is not known"),
        ({"lake.data": "az://container"}, "lake.data: expected a folder, or an address such as s3://"),
        ({"lake.data": "s3://"}, "lake.data: expected a folder, or an address such as s3://"),
    ],
)
def test_what_is_no_place_is_told(flags: dict[str, str], said: str) -> None:
    """A mistake names its setting, and what is expected there."""
    with pytest.raises(ConfigError, match=said):
        place(**flags)


def test_a_lake_that_nobody_made_is_told(tmp_path: Path) -> None:
    """Who only reads is told how a lake is made; of a server only itself could say."""
    with pytest.raises(DataDirectoryError, match="there is no lake here yet"):
        expect_lake(load_settings(None, flags={"data": tmp_path}, environment={}))
    there = {"data": tmp_path, "lake.catalog": "postgresql://me@db/lake"}
    assert expect_lake(load_settings(None, flags=there, environment={})).shared
