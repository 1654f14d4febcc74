"""What SQL tries in order to write, to read elsewhere or to learn where things lie: nothing comes of it."""

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from helpers.batches import predictions
from helpers.faults_plan import examples
from helpers.query_lake import Readers, make_lake, readers
from lapwing_collector import engine, sandbox
from lapwing_collector.errors import QueryError
from lapwing_collector.lake import Lake, Progress
from lapwing_collector.query import QueryPool, Session

CANARY = "lapwing-canary-3f1c"


@dataclass
class Ground:
    """A lake, a secret beside it, and a query pool."""

    root: Path
    pool: QueryPool

    @property
    def lake(self) -> Path:
        """The folder of the lake."""
        return self.root / "data" / "lake"

    def digests(self) -> dict[str, str]:
        """Every file below the root, with a hash of what is in it."""
        return {
            str(file): hashlib.blake2b(file.read_bytes()).hexdigest()
            for file in sorted(self.root.rglob("*"))
            # How readers of the catalog agree with each other is no content.
            if file.is_file() and not file.name.endswith("-shm")
        }

    def filled(self, sql: str) -> str:
        """`sql` with the paths of this ground put in."""
        parquet = next(self.lake.rglob("*.parquet"))
        places = {
            "root": self.root,
            "lake": self.lake,
            "parquet": parquet,
            "secret": self.root / "secret.csv",
        }
        return re.sub(r"\{(root|lake|parquet|secret)\}", lambda found: str(places[found[1]]), sql)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    root = tmp_path_factory.mktemp("ground")
    for name in ("secret.csv", "secret.json", "data/secret.csv"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f'"{CANARY}"\n1\n')
    with duckdb.connect(str(root / "secret.duckdb")) as other:
        other.execute(f"CREATE TABLE secret AS SELECT '{CANARY}' AS a")
    with readers(make_lake(root / "data" / "lake")) as found:
        yield found


@pytest.fixture(scope="module")
def ground(shared: Readers) -> Iterator[Ground]:
    with shared.pool() as pool:
        yield Ground(shared.folder.parents[1], pool)


WRITES = [
    "COPY (SELECT 1) TO '{lake}/data/new.parquet'",
    "COPY (SELECT 1) TO '{parquet}'",
    "COPY models TO '{root}/out.csv'",
    "COPY models FROM '{secret}'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{parquet}'",
    "EXPLAIN SELECT 1",
    "EXPORT DATABASE '{root}/export'",
    "IMPORT DATABASE '{root}/export'",
    "INSERT INTO models VALUES (1)",
    "INSERT INTO predictions_all.churn BY NAME SELECT 1 AS prediction_id",
    "UPDATE predictions_all.churn SET prediction_id = 'x'",
    "DELETE FROM predictions_all.churn",
    "TRUNCATE predictions_all.churn",
    "MERGE INTO models USING models AS m ON true WHEN MATCHED THEN DELETE",
    "WITH gone AS (DELETE FROM models RETURNING *) SELECT * FROM gone",
    "WITH out AS (COPY (SELECT 1) TO '{root}/out.csv') SELECT 1",
    "CREATE TABLE t (i INT)",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW predictions.churn AS SELECT 1",
    "CREATE MACRO range(x) AS TABLE SELECT * FROM read_text(x)",
    "CREATE SECRET s (TYPE s3)",
    "DROP TABLE models",
    "DROP SCHEMA predictions CASCADE",
    "ALTER TABLE models ADD COLUMN x INT",
    "CHECKPOINT",
    "FORCE CHECKPOINT lake",
    "VACUUM",
    "ANALYZE",
    "BEGIN TRANSACTION",
    "SELECT * FROM ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "SELECT * FROM ducklake_delete_orphaned_files('lake', cleanup_all => true)",
    "SELECT * FROM ducklake_expire_snapshots('lake', versions => [1])",
    "SELECT * FROM ducklake_merge_adjacent_files('lake')",
    "SELECT * FROM ducklake_rewrite_data_files('lake')",
    "SELECT * FROM ducklake_add_data_files('lake', 'models', '{secret}')",
    "SELECT * FROM ducklake_set_option('lake', 'compression', 'none')",
    "SELECT * FROM lake.ducklake_cleanup_old_files('lake')",
    "CALL ducklake_cleanup_old_files('lake', cleanup_all => true)",
    "CALL lake.set_option('x', 'y')",
    "SELECT * FROM sqlite_query('lake', 'DELETE FROM ducklake_table')",
    "SELECT * FROM checkpoint('lake')",
    "SELECT * FROM force_checkpoint('lake')",
    "SELECT 1; DELETE FROM models",
    "DELETE FROM models; SELECT 1",
    "SELECT write_log('x')",
    "SELECT nextval('s')",
    "SELECT * FROM enable_logging(storage => 'file', storage_path => '{root}/logs')",
    "SELECT * FROM enable_profiling(save_location => '{root}/profile')",
]

SETTINGS = [
    "SET threads = 64",
    "SET GLOBAL memory_limit = '1TB'",
    "SET lock_configuration = false",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "SET temp_directory = '{root}/temp'",
    "SET VARIABLE x = 1",
    "SET SESSION home_directory = '/'",
    "RESET memory_limit",
    "RESET lock_configuration",
    "PRAGMA threads = 64",
    "PRAGMA database_list",
    "PRAGMA enable_profiling",
    "PRAGMA memory_limit = '1TB'",
    "USE memory",
    "USE __ducklake_metadata_lake",
    "INSTALL httpfs",
    "FORCE INSTALL spatial FROM community",
    "LOAD httpfs",
    "LOAD '{lake}/x.duckdb_extension'",
    "ATTACH '{root}/secret.duckdb' AS other",
    "ATTACH '{root}/new.duckdb'",
    "ATTACH '{lake}/catalog.sqlite' AS c (TYPE sqlite)",
    "ATTACH 'ducklake:sqlite:{lake}/catalog.sqlite' AS again",
    "ATTACH ':memory:' AS m",
    "DETACH lake",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "DEALLOCATE p",
    "EXPLAIN ANALYZE SELECT * FROM read_text('{secret}')",
]

READS = [
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_csv_auto('{secret}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_blob('{lake}/catalog.sqlite')",
    "SELECT * FROM read_json('{root}/secret.json')",
    "SELECT * FROM read_ndjson_objects('{root}/secret.json')",
    "SELECT * FROM read_parquet('{parquet}')",
    "SELECT * FROM parquet_scan('{parquet}')",
    "SELECT * FROM parquet_metadata('{parquet}')",
    "SELECT * FROM parquet_schema('{parquet}')",
    "SELECT * FROM read_duckdb('{root}/secret.duckdb', table_name => 'secret')",
    "SELECT * FROM glob('{root}/*')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM '{secret}'",
    "FROM '{parquet}'",
    "FROM '{lake}/data/**/*.parquet'",
    "FROM 'secret.csv'",
    "FROM 'file://{secret}'",
    "FROM 'https://localhost:1/x.parquet'",
    "FROM 's3://bucket/x.parquet'",
    "FROM '/proc/self/environ'",
    "DESCRIBE '{secret}'",
    "SUMMARIZE '{parquet}'",
    "SUMMARIZE read_csv('{secret}')",
    "SELECT (SELECT content FROM read_text('{secret}'))",
    "SELECT 1 WHERE EXISTS (FROM read_text('{secret}'))",
    "SELECT * FROM range(1) t(i), LATERAL (SELECT content FROM read_text('{secret}'))",
    "SELECT * FROM '{secret}', (WITH \"{secret}\" AS (SELECT 1) SELECT 1)",
    'SELECT count(*) FROM (WITH "{parquet}" AS (SELECT 1) SELECT 1), "{parquet}"',
    'SELECT * FROM (WITH "{lake}/data/**" AS (SELECT 1) SELECT 1), "{lake}/data/**"',
    'WITH "{parquet}" AS (SELECT 1) SELECT * FROM "{parquet}"',
    'WITH a AS (WITH "{parquet}" AS (SELECT 1) SELECT 1) SELECT * FROM a, lake."{parquet}"',
    'SELECT * FROM main."{parquet}"',
    "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT 1 FROM read_text('{secret}'), r) FROM r",
    "SELECT * FROM (PIVOT read_csv('{secret}') ON a IN (1) USING count(*))",
    "SELECT * FROM query('FROM read_text(''{secret}'')')",
    "SELECT * FROM query_table('{secret}')",
    "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('FROM read_text(''{secret}'')'))",
    "SELECT json_serialize_plan('FROM read_text(''{secret}'')')",
    "SELECT * FROM sqlite_scan('{lake}/catalog.sqlite', 'ducklake_table')",
    "SELECT * FROM sqlite_attach('{lake}/catalog.sqlite')",
    "SELECT * FROM \"read_text\"('{secret}')",
    "SELECT * FROM system.main.read_text('{secret}')",
    "SELECT * FROM READ_TEXT('{secret}')",
    "SELECT * FROM/**/read_text/**/('{secret}')",
    "SELECT * FROM python_map_function(1)",
    "SELECT * FROM sql",
    "SELECT * FROM os",
    "SELECT getenv('HOME')",
    "VALUES (getenv('HOME'))",
]

TELLS = [
    "SELECT current_setting('allowed_directories')",
    "SELECT list_transform(['home_directory'], x -> current_setting(x))",
    "SELECT 'home_directory'.current_setting()",
    "SELECT system.main.current_setting('extension_directory')",
    "SELECT getvariable('x')",
    "SELECT * FROM duckdb_settings()",
    "SELECT * FROM duckdb_secrets()",
    "SELECT * FROM which_secret('s3://x', 's3')",
    "SELECT * FROM duckdb_databases()",
    "SELECT * FROM duckdb_databases",
    "SELECT * FROM main.duckdb_databases",
    "SELECT * FROM system.main.duckdb_databases",
    "SELECT * FROM system.duckdb_databases",
    "SUMMARIZE duckdb_databases",
    "WITH duckdb_databases AS (SELECT 1) SELECT * FROM duckdb_databases",
    "SELECT * FROM DuckDB_Databases",
    'SELECT * FROM "duckdb_databases"',
    "SELECT * FROM pragma_database_list",
    "SELECT * FROM duckdb_extensions()",
    "SELECT * FROM duckdb_views()",
    "SELECT * FROM duckdb_external_file_cache()",
    "SELECT * FROM duckdb_logs",
    "SELECT * FROM pg_catalog.pg_settings",
    "SELECT * FROM pg_settings",
    "SELECT * FROM sqlite_master",
    "SELECT * FROM __ducklake_metadata_lake.ducklake_data_file",
    "SELECT * FROM __ducklake_metadata_lake.main.ducklake_data_file",
    "SELECT * FROM ducklake_data_file",
    "SELECT * FROM ducklake_list_files('lake', 'models')",
    "SELECT * FROM ducklake_table_info('lake')",
    "SELECT * FROM ducklake_snapshots('lake')",
    "SELECT * FROM ducklake_options('lake')",
    "SELECT * FROM lake.snapshots()",
    "SELECT * FROM lake.options()",
    "SELECT filename FROM predictions_all.churn",
    'SELECT "FileName" FROM predictions_all.churn',
    "SELECT t.filename FROM predictions_all.churn AS t",
    "SELECT inputs.filename FROM predictions_all.churn AS inputs",
    "SELECT churn.filename FROM predictions_all.churn",
    "SELECT predictions_all.churn.filename FROM predictions_all.churn",
    "SELECT lake.predictions_all.churn.filename FROM lake.predictions_all.churn",
    "SELECT * REPLACE (filename AS version) FROM labels.churn",
    "SELECT min(filename) FROM models",
    "SELECT filename FROM lake.models",
    "SELECT filename FROM (WITH models AS (SELECT 1) SELECT 1), models",
    "SUMMARIZE SELECT filename FROM predictions_all.churn",
    "SELECT * FROM (PIVOT labels.churn ON label IN (true) USING count(*) GROUP BY filename)",
    "SELECT * FROM labels.churn JOIN models USING (filename)",
    "SELECT version FROM predictions_all.churn ORDER BY filename",
    "SELECT (SELECT filename) FROM predictions_all.churn",
    "SELECT rowid FROM predictions_all.churn",
    "SELECT snapshot_id, file_row_number, file_index FROM predictions_all.churn",
    "SHOW VARIABLES",
    "SELECT pg_sleep(60)",
    "SELECT sleep_ms(60000)",
]


@pytest.mark.parametrize("sql", WRITES + SETTINGS + READS + TELLS)
def test_an_escape_is_refused_and_leaves_no_trace(ground: Ground, sql: str) -> None:
    """It is an error, no file has changed, and the error tells nothing of what lies elsewhere."""
    before = ground.digests()
    with pytest.raises(QueryError) as refused:
        ground.pool.run(ground.filled(sql), {}, 10)
    assert ground.digests() == before
    assert CANARY not in str(refused.value)


def test_every_table_function_but_the_listed_is_refused(ground: Ground) -> None:
    """Whatever DuckDB and its extensions offer as a table function is refused by its name."""
    with duckdb.connect() as everything:
        engine.connect().close()
        names = {
            name
            for (name,) in everything.execute(
                "SELECT DISTINCT function_name FROM duckdb_functions() "
                "WHERE function_type IN ('table', 'table_macro', 'pragma')"
            ).fetchall()
        }
    assert len(names) > 50
    for name in sorted(names - {"range", "generate_series", "repeat", "unnest"}):
        with pytest.raises(QueryError):
            ground.pool.run(f"SELECT * FROM {engine.identifier(name)}('{ground.lake}')", {}, 10)


def test_paths_are_told_by_no_view(ground: Ground) -> None:
    """The schemas that can be read tell tables and columns, but not where anything lies."""
    for table in ("tables", "columns", "schemata", "views", "table_constraints"):
        rows = ground.pool.run(f"SELECT * FROM information_schema.{table}", {}, 30)
        assert str(ground.root) not in str(rows.to_pylist())
    assert str(ground.root) not in str(ground.pool.run("SHOW ALL TABLES", {}, 30).to_pylist())
    assert str(ground.root) not in str(ground.pool.run("SHOW DATABASES", {}, 30).to_pylist())


BENIGN = [
    "SELECT * FROM predictions.churn",
    "SELECT count(*), avg(inputs.age) FROM labeled.churn WHERE time < now()::TIMESTAMP GROUP BY version",
    "WITH a AS (SELECT 1 AS x) SELECT a.x, m.* FROM a, models m",
    "SELECT * FROM range(3) t(i) JOIN models ON true",
    "SELECT inputs.age AS filename, count(*) FROM predictions.churn GROUP BY filename ORDER BY filename",
    "WITH named AS (SELECT inputs.age AS filename FROM predictions_all.churn) SELECT n.filename FROM named n",
    "SELECT x.filename FROM (SELECT 1 AS filename) AS x",
    "SHOW ALL TABLES",
    "DESCRIBE predictions.churn",
    "SUMMARIZE predictions.churn",
]


@pytest.mark.parametrize("sql", BENIGN)
def test_what_people_ask_is_answered(ground: Ground, sql: str) -> None:
    """None of the above stands in the way of looking at the lake."""
    ground.pool.run(sql, {}, 30)


def test_fields_may_be_called_as_columns_of_ducklake(tmp_path: Path) -> None:
    """An input named filename or rowid is an input as any other, whichever way it is written."""
    lake = Lake.open(tmp_path / "lake")
    lake.flush([predictions("m", [{"inputs.filename": "cat.png", "inputs.rowid": 3}])], [], Progress(1, 0))
    with closing(lake), closing(Session.open(tmp_path / "lake")) as session:
        for field in ("inputs.filename", "m.inputs.filename", "inputs['filename']", "(inputs).filename"):
            for schema in ("predictions", "predictions_all"):
                rows = session.run(f"SELECT {field} AS f, inputs.rowid AS r FROM {schema}.m")
                assert rows.to_pylist() == [{"f": "cat.png", "r": 3}]


TOKENS = re.compile(r"\w+|'[^']*'|\"[^\"]*\"|\s+|.", re.DOTALL)
SEEDS = [TOKENS.findall(sql) for sql in WRITES + SETTINGS + READS + TELLS + BENIGN]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """SQL made of the above: pieces of two put together, then tokens dropped, doubled, dressed or changed."""
    tokens, other = draw(st.sampled_from(SEEDS)), draw(st.sampled_from(SEEDS))
    at, start = draw(st.integers(0, len(tokens))), draw(st.integers(0, len(other)))
    whole = [
        [*tokens],
        [*tokens[:at], *other[start:]],
        [*tokens[:at], "(", *other, ")", *tokens[at:]],
        [*tokens, ";", *other],
    ]
    made = draw(st.sampled_from(whole))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(0, len(made) - 1)))
        token = "".join(made[place : place + 1])
        dressed = [
            [],
            [token, token],
            [f'"{token}"'],
            ["/* */", token],
            [token.swapcase()],
            other[start : start + 1],
        ]
        made[place : place + 1] = draw(st.sampled_from(dressed))
    return "".join(made)


@settings(max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sql=mutated())
def test_no_mutation_of_an_escape_gets_out(ground: Ground, sql: str) -> None:
    """Whatever becomes of the pieces, no file changes and no secret is in an answer or an error."""
    before = ground.digests()
    try:
        said = str(ground.pool.run(ground.filled(sql), {}, 5).to_pylist())
    except QueryError as error:
        said = str(error)
    assert ground.digests() == before
    assert CANARY not in said


ALONE = """
import json, os, socket, subprocess, sys
from contextlib import suppress
from pathlib import Path
lake, script = Path(sys.argv[1]), json.loads(sys.argv[2])
from lapwing_collector import sandbox
neighbour = os.getppid()
if sys.argv[5] == "forked":
    import lapwing_collector.query.forks
    neighbour = os.fork()
    if not neighbour:
        sandbox.enter(sandbox.Needs.of([lake]))
        sys.stdin.read()
        sys.exit()
    if forked := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]))
version = sandbox.enter(sandbox.Needs.of([lake]))
from lapwing_collector.query.session import Session
connection = Session.open(lake)._connection
said = {"version": version}
for sql in script:
    try:
        said[sql] = str(connection.execute(sql).fetchall())
    except Exception as error:
        with suppress(Exception):
            connection.rollback()
        said[sql] = f"{type(error).__name__}: {error}"
def attempt(name, action):
    try:
        said[name] = f"done {action()}"
    except OSError as error:
        said[name] = type(error).__name__
attempt("read", lambda: open(sys.argv[3]).read())
attempt("list", lambda: os.listdir(Path(sys.argv[3]).parent))
attempt("write", lambda: open(lake / "data" / "x", "w"))
attempt("append", lambda: open(lake / "catalog.sqlite", "ab").write(b"x"))
attempt("remove", lambda: os.unlink(lake / "catalog.sqlite"))
attempt("rename", lambda: os.rename(lake / "catalog.sqlite", lake / "c"))
attempt("mkdir", lambda: os.mkdir(lake / "new"))
attempt("chmod", lambda: os.truncate(lake / "catalog.sqlite", 0))
attempt("run", lambda: subprocess.run(["/bin/true"], check=True))
attempt("connect", lambda: socket.create_connection(("127.0.0.1", int(sys.argv[4])), 5))
attempt("listen", lambda: socket.create_server(("127.0.0.1", 0)))
attempt("kill", lambda: os.kill(os.getppid(), 0))
attempt("kill a neighbour", lambda: os.kill(neighbour, 0))
attempt("look into one", lambda: open(f"/proc/{neighbour}/mem", "rb").close())
print(json.dumps(said))
"""

HARDER = [sql for sql in WRITES + SETTINGS + READS if "range(x)" not in sql and "BEGIN" not in sql]


@pytest.mark.skipif(not sandbox.landlock_version(), reason="this kernel has no Landlock")
@pytest.mark.parametrize("kind", ["spawned", "forked"])
def test_the_process_alone_holds_without_the_check_of_the_sql(ground: Ground, kind: str) -> None:
    """Even SQL and code that nobody checked neither write, nor read elsewhere, nor reach other processes."""
    before = ground.digests()
    script = [ground.filled(sql) for sql in HARDER]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                ALONE,
                str(ground.lake),
                json.dumps(script),
                str(ground.root / "secret.csv"),
                str(listener.getsockname()[1]),
                kind,
            ],
            stdin=subprocess.PIPE,  # which ends with this
            capture_output=True,
            check=False,
            timeout=120,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("version") > 0
    assert ground.digests() == before
    assert CANARY not in str(said)
    attempts = list(said)[-14:]
    assert {name: said[name] for name in attempts if said[name].startswith("done")} == {}
