"""Damaged files of the lake: told apart from wrong SQL, and not missed once they are set aside."""

import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import duckdb
import pytest

from helpers.batches import predictions
from helpers.query_lake import Readers, make_lake, readers
from lapwing_collector.app.places.profiling import PROFILING
from lapwing_collector.errors import DamagedFileError, QueryError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.model.queries import Ask
from lapwing_collector.query import QueryPool
from lapwing_collector.query.mistakes import query_error

COUNT = "SELECT count(*) AS n, sum(inputs.age) AS s FROM predictions.churn"


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Readers]:
    folder = make_lake(tmp_path / "data" / "lake")
    lake = Lake.open(folder, profiling=PROFILING)
    lake.flush([predictions("churn", [{"prediction_id": "x", "inputs.age": 100}])], [], Progress(3, 0))
    lake.close()
    with readers(folder) as found:
        yield found


def first_file(folder: Path) -> Path:
    """The file with the first ten predictions, which is the largest."""
    return max((folder / "data" / "predictions_all").rglob("*.parquet"), key=lambda file: file.stat().st_size)


def flip(place: float) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        at = int(len(data) * place)
        return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]

    return change


HARM = {
    "cut": lambda data: data[:100],
    "empty": lambda _: b"",
    "foreign": lambda _: b"time,age\n1,2\n" * 10,
    "flipped_footer": lambda data: data[:-20] + bytes([data[-20] ^ 0xFF]) + data[-19:],
}


@pytest.mark.parametrize(
    ("address", "files"),
    [
        ("https://store.example.org:9000/bucket/lake/{}", "s3://bucket/lake/"),
        ("https://bucket.store.example.org/lake/{}", "s3://bucket/lake/"),
        ("https://store.example.org/bucket/main/{}", "s3://bucket/main/"),
        ("https://store.example.org/bucket/{}", "s3://bucket/"),
        ("https://bucket.store.example.org/{}", "s3://bucket/"),
        ("https://store.example.org/bucket/a%20lake/{}", "s3://bucket/a lake/"),
        ("s3://bucket/lake/{}", "s3://bucket/lake/"),
    ],
)
def test_objects_that_are_gone_are_named_within_the_lake(address: str, files: str) -> None:
    """Whatever the address of an object is made of, its file is called as the lake calls it."""
    file = "main/profiles/1.parquet"
    message = f"HTTP GET error reading '{address.format(file)}' in region 'us-east-1' (HTTP 404 Not Found)"
    told = json.dumps({"exception_type": "HTTP", "exception_message": message})
    error = query_error(duckdb.HTTPException(f"HTTP Error: {told}"), "FROM profiles", files)
    assert isinstance(error, DamagedFileError)
    assert error.file == file


def test_damage_is_told_apart_and_hides_where_files_are(shared: Readers) -> None:
    """Whatever was done to a file, the query that needs it says that it is damaged, and others answer."""
    file = first_file(shared.folder)
    whole = file.read_bytes()
    with shared.pool() as pool:
        for name, harm in HARM.items():
            file.write_bytes(harm(whole))
            with pytest.raises(DamagedFileError, match="damaged or gone") as told:
                pool.run(COUNT, {}, 30)
            assert str(shared.folder) not in str(told.value), name
            assert pool.run("SELECT count(*) AS n FROM models", {}, 30).to_pylist() == [{"n": 1}]
        file.unlink()
        with pytest.raises(DamagedFileError, match="damaged or gone"):
            pool.run(COUNT, {}, 30)
        file.write_bytes(whole)
        assert pool.run(COUNT, {}, 30).column("n").to_pylist() == [11]


def test_a_file_that_cannot_be_opened_now_is_no_damage(shared: Readers) -> None:
    """A process that can open no more files says so, and not that one is damaged."""
    file = first_file(shared.folder)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with duckdb.connect(config={"errors_as_json": True}) as connection:
        connection.execute(f"SELECT * FROM '{file}'").fetchall()  # what else it opens is open now
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        try:
            with pytest.raises(duckdb.IOException) as met:
                connection.execute(f"FROM '{file}'").fetchall()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    told = query_error(met.value, COUNT, f"{shared.folder}/")
    assert not isinstance(told, DamagedFileError)
    assert "cannot be read now: " in str(told)
    assert str(shared.folder) not in str(told)


def test_errors_of_people_are_no_damage(shared: Readers) -> None:
    """Nobody can have files set aside by what their SQL says."""
    with shared.pool() as pool:
        file = first_file(shared.folder)
        for sql in (
            "SELECT error('x.parquet')",
            "SELECT 'data/x.parquet'::INT",
            "SELECT chr(-1)",
            f"SELECT error('{file}')",
            f"""SELECT "error"('Cannot open file "{file}": No such file or directory')""",
            f"""SELECT list_transform(['File "{file}" is bad'], x -> x.error())""",
            f"""SELECT CASE i WHEN 99999 THEN error('File "{file}" is bad') ELSE i::VARCHAR END
                FROM range(100000) AS t(i)""",
            f"SELECT strptime('{file}', '%Y')",
            f"SELECT strptime('2026', '{file} %Y')",
            f"SELECT regexp_matches('a', '({file}')",
            f"SELECT json('{file}')",
            f"SELECT '{file}'::TIMESTAMP",
        ):
            with pytest.raises(QueryError) as told:
                pool.run(sql, {}, 30)
            assert not isinstance(told.value, DamagedFileError)


def test_all_that_is_damaged_is_set_aside_where_a_query_meets_more(shared: Readers) -> None:
    """One file first, which takes a moment; where that was not all, every file is looked through."""
    whole = {
        file: file.read_bytes() for file in (shared.folder / "data" / "predictions_all").rglob("*.parquet")
    }
    for file in whole:
        file.write_bytes(b"")
    mended: list[str | None] = []

    def mend(met: str | None) -> bool:
        mended.append(met)
        for file, content in whole.items():
            if met is None or file.name in met:
                file.write_bytes(content)
        return True

    pool = QueryPool(shared.spare, 1, mend=mend)
    try:
        with pool.ask(Ask(COUNT), 30) as answer:
            assert (answer.incomplete, answer.table().column("n").to_pylist()) == (True, [11])
    finally:
        pool.close()
    assert len(mended) == 2
    assert mended[1] is None


def test_the_rest_answers_once_the_damage_is_set_aside(shared: Readers) -> None:
    """A query that meets a damaged file is asked again once it was set aside, and says that rows may miss."""
    file = first_file(shared.folder)
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    mended: list[str | None] = []

    def mend(met: str | None) -> bool:
        mended.append(met)
        if len(mended) == 1:
            return False
        file.write_bytes(whole)
        return True

    pool = QueryPool(shared.spare, 1, mend=mend)
    try:
        with pytest.raises(DamagedFileError):
            pool.run(COUNT, {}, 30)
        with pool.ask(Ask(COUNT), 30) as answer:
            assert (answer.incomplete, answer.table().column("n").to_pylist()) == (True, [11])
        with pool.ask(Ask(COUNT), 30) as answer:
            assert not answer.incomplete
        assert mended == [str(file.relative_to(shared.folder / "data"))] * 2
    finally:
        pool.close()
