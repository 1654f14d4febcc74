"""`lapwing up` through restarts, crashes and ends: real processes, real signals, stock clients."""

import gc
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter

from helpers.collector import ask, prediction, request
from helpers.ports import free_port
from helpers.receive_server import PROTOBUF, Answer
from helpers.supervisor_clients import Clients, Exporter, complaints, sending
from helpers.waiting import wait_until
from lapwing_collector.app.processes.supervisor import FRUGAL
from lapwing_collector.app.processes.worker import _import_the_rest
from lapwing_collector.demo.process import COMMAND, CollectorProcess
from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.listening import listen

SETTINGS = "write:\n  flush_interval: 50ms\n"
CLIENTS = 3
FEW = 512
"""Files that a process may have open where little is allowed without asking."""
TOO_BUSY = ("Service Unavailable", "takes too long", "CANCELLED")
"""What a request hears that is held too long, on a machine that is busy; it comes again."""


class Service:
    """A collector as a service: its processes, its data and what it says."""

    def __init__(self, folder: Path, *, http: str = "127.0.0.1:0", **environment: str) -> None:
        self.data = folder / "data"
        self.config = folder / "lapwing.yaml"
        self.config.write_text(SETTINGS)
        self.process = CollectorProcess.start(
            self.data, config=self.config, environment=environment, http=http
        )
        self.address = self.process.endpoint.removeprefix("http://")
        said = (self.data / "collector.log").read_text()
        self.grpc_address = re.findall(r"over gRPC to\s+(\S+)", said)[-1]

    def post(self, body: bytes) -> int:
        """Send one request on a connection of its own, and again where it is told to, as OTLP wants it."""
        status = 503
        while status == 503:
            with closing(http.client.HTTPConnection(self.address, timeout=60)) as connection:
                connection.request("POST", "/v1/logs", body, PROTOBUF)
                status = Answer.read(connection).status
        return status

    def exporter(self) -> Exporter:
        """A stock exporter."""
        return OTLPLogExporter(endpoint=f"http://{self.address}/v1/logs", timeout=60)

    def grpc_exporter(self) -> Exporter:
        """A stock exporter over gRPC."""
        grpc_exporter = pytest.importorskip("opentelemetry.exporter.otlp.proto.grpc._log_exporter")
        exporter: Exporter = grpc_exporter.OTLPLogExporter(self.grpc_address, insecure=True, timeout=60)
        return exporter

    def said(self, action: str) -> list[str]:
        """The messages with this action so far."""
        lines = (self.data / "collector.log").read_text().splitlines()
        records = [json.loads(line) for line in lines if line.startswith("{")]
        return [record["message"] for record in records if record.get("action") == action]

    @contextmanager
    def saying(self, action: str) -> Iterator[None]:
        """Wait at the end of the block until the collector says something with this action."""
        before = len(self.said(action))
        yield
        wait_until(lambda: len(self.said(action)) > before, 60)

    def restart(self) -> None:
        """Ask for a planned restart and wait until it is done."""
        with self.saying("worker_ready"):
            self.process.restart()

    @contextmanager
    def unreadable_settings(self) -> Iterator[None]:
        """Have within the block settings whose reading ends when somebody writes them, which is never."""
        self.config.unlink()
        os.mkfifo(self.config)
        try:
            yield
        finally:
            self.config.unlink()
            self.config.write_text(SETTINGS)

    def stored(self, model: str) -> tuple[int, set[str]]:
        """How many rows there are, and the ids in them."""
        try:
            rows = ask(self.data, f"SELECT prediction_id FROM predictions.{model}")
        except NotSeenYetError:
            rows = []
        return len(rows), {row["prediction_id"] for row in rows}

    def holds_each_once(self, clients: Clients, model: str) -> None:
        """Check that what was acknowledged is stored, each once, as soon as it is written."""
        expected = set(clients.acknowledged)
        assert len(expected) == len(clients.acknowledged)
        wait_until(lambda: self.stored(model)[0] >= len(expected), 60)
        assert self.stored(model) == (len(expected), expected)


def descendants(pid: int) -> set[int]:
    """The processes that a process started, from whatever thread, and those that they started."""
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    children = {int(child) for listed in lists for child in listed.read_text().split()}
    return children.union(*map(descendants, children))


def is_gone(pid: int) -> bool:
    """Whether a process has ended, buried or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def allows_more(hard: int) -> bool:
    """Whether a limit is above few open files."""
    return hard == resource.RLIM_INFINITY or hard > FEW


@contextmanager
def few_open_files() -> Iterator[None]:
    """Let what is started meanwhile have few files open, though it may have more where this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW if allows_more(hard) else soft, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for tests that leave it running; what is to fail in it does when a test says so."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "sitecustomize.py").write_text(IMPATIENT + FAILING_THREAD.format(doom=str(folder / "doom")))
    path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    with few_open_files():
        service = Service(folder, PYTHONPATH=path)
    yield service
    assert service.process.stop() == 0


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[Service]:
    """A service for a test that ends it."""
    service = Service(tmp_path)
    yield service
    service.process.kill()


def test_who_comes_while_the_worker_is_dead_is_served_by_the_next(service: Service) -> None:
    """A worker that is killed is replaced; who connects meanwhile waits, and gets 200."""
    assert service.post(request([prediction("crash", "before", 1)])) == 200
    dead = service.process.worker_pid
    with service.saying("worker_ready"):
        os.kill(service.process.worker_pid, signal.SIGKILL)
        wait_until(lambda: is_gone(dead))
        with socket.create_connection(service.address.split(":"), timeout=60) as waiting:
            assert waiting.getpeername()
            assert service.post(request([prediction("crash", "meanwhile", 2)])) == 200
    assert service.process.worker_pid != dead
    assert "killed by SIGKILL" in service.said("worker_ended")[-1]
    wait_until(lambda: service.stored("crash") == (2, {"before", "meanwhile"}))


def test_planned_restarts_under_load_refuse_nobody(service: Service) -> None:
    """Fault 21: of two restarts exporters notice nothing but the new settings; each record is stored once."""
    exporters = [service.exporter, service.grpc_exporter] * (CLIENTS - 1)
    large = request([prediction("large", "p", 1, inputs={"text": "x" * 100_000})])
    assert service.post(large) == 200
    with complaints() as heard, sending("planned", exporters) as clients:
        for settings, status in ((f"{SETTINGS}http:\n  max_request_bytes: 65536\n", 413), (SETTINGS, 200)):
            clients.wait_for_more()
            service.config.write_text(settings)
            service.restart()
            assert service.post(large) == status
        clients.wait_for_more()
    assert clients.given_up == 0
    assert [text for text in heard if not any(words in text for words in TOO_BUSY)] == []
    service.holds_each_once(clients, "planned")


def test_a_worker_may_have_as_many_files_open_as_it_is_allowed(service: Service) -> None:
    """Where few open files are the rule and more are allowed, a worker takes what is allowed."""
    few, allowed = resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE)
    if not allows_more(allowed):
        pytest.skip("this process may have no more than few files open itself")
    assert few == FEW
    assert resource.prlimit(service.process.worker_pid, resource.RLIMIT_NOFILE) == (allowed, allowed)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("htttp:\n  listen: 127.0.0.1:1\n", "did you mean http?"),
        ("rules: [none.yaml]\n", "does not exist"),
    ],
    ids=["settings", "rules"],
)
def test_wrong_settings_change_nothing(service: Service, settings: str, words: str) -> None:
    """A restart into a mistake is told and not done: the worker with the old settings runs on."""
    before = service.process.worker_pid
    service.config.write_text(SETTINGS + settings)
    try:
        with service.saying("restart_failed"):
            service.process.restart()
    finally:
        service.config.write_text(SETTINGS)
    assert words in service.said("restart_failed")[-1]
    assert service.process.worker_pid == before
    assert service.post(request([prediction("wrong", "p", 1)])) == 200


def test_a_worker_told_to_end_is_replaced(service: Service) -> None:
    """SIGTERM to the worker alone is a restart in good order: nothing that was acknowledged is lost."""
    with sending("alone", [service.exporter] * CLIENTS) as clients:
        clients.wait_for_more()
        with service.saying("worker_ready"):
            os.kill(service.process.worker_pid, signal.SIGTERM)
        clients.wait_for_more()
    assert clients.given_up == 0
    service.holds_each_once(clients, "alone")


def to_supervisor(service: Service) -> None:
    os.kill(service.process.pid, signal.SIGTERM)


def to_everybody(service: Service) -> None:
    os.killpg(service.process.pid, signal.SIGTERM)


def ctrl_c(service: Service) -> None:
    os.killpg(service.process.pid, signal.SIGINT)


@pytest.mark.parametrize("tell", [to_supervisor, to_everybody, ctrl_c])
def test_the_end_under_load_loses_nothing(
    tell: Callable[[Service], None], own_service: Service, tmp_path: Path
) -> None:
    """Told to end while clients send, it does, and what it acknowledged is stored."""

    def send() -> Exporter:
        return OTLPLogExporter(endpoint=f"http://{own_service.address}/v1/logs", timeout=1)

    with sending("ended", [send] * CLIENTS) as clients:
        clients.wait_for_more()
        tell(own_service)
        assert own_service.process.wait(60) == 0  # 5 s on a machine that does nothing else
    promised = set(clients.acknowledged)
    if not own_service.stored("ended")[1] >= promised:  # what it had no time for is in its log
        again = Service(tmp_path)
        wait_until(lambda: again.stored("ended")[1] >= promised, 60)
        assert again.process.stop() == 0
    count, ids = own_service.stored("ended")
    assert count == len(ids)
    assert ids >= promised


def test_a_second_signal_ends_it_at_once(own_service: Service) -> None:
    """Who does not want to wait for a worker that hangs says so again."""
    os.kill(own_service.process.worker_pid, signal.SIGSTOP)
    with own_service.saying("stopping"):
        to_supervisor(own_service)
    to_supervisor(own_service)
    assert own_service.process.wait(60) == 130


def test_a_restart_can_move_to_another_address(tmp_path: Path) -> None:
    """A new address is listened on, the old no longer; one that is taken changes nothing; systemd hears."""

    def written(address: str) -> None:
        config.write_text(f"http:\n  listen: {address}\nweb:\n  listen: 127.0.0.1:0\ndata: data\n")

    def restarted(action: str) -> None:
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        for line in process.stderr:
            if json.loads(line).get("action") == action:
                return
        pytest.fail("it ended")

    addresses = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    config = tmp_path / "lapwing.yaml"
    written(addresses[0])
    command = [*COMMAND, "up", "--config", str(config)]
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(60)
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    with (
        manager,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert any("Ctrl-C" in line for line in process.stdout)
        assert health(addresses[0]) == 200
        written(addresses[1])
        restarted("worker_ready")
        assert health(addresses[1]) == 200
        with pytest.raises(ConnectionRefusedError):
            health(addresses[0])
        with listen(*host_and_port(addresses[0])):
            written(addresses[0])
            restarted("restart_failed")
        assert health(addresses[1]) == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        heard = [manager.recv(4096).decode().partition("\n")[0] for _ in range(6)]
    assert heard == ["READY=1", *["RELOADING=1", "READY=1"] * 2, "STOPPING=1"]


def host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.rpartition(":")
    return host, int(port)


def health(address: str) -> int:
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        connection.request("GET", "/healthz")
        return Answer.read(connection).status


def test_a_worker_that_always_dies_is_given_up(tmp_path: Path) -> None:
    """A first start that is hopeless ends with one clear line for it, and exit code 1."""
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'lapwing_collector.app.processes.worker' in sys.orig_argv: os.kill(os.getpid(), 9)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    ended = subprocess.run(
        [*COMMAND, "up", "--data", str(tmp_path / "data")],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    *retries, last = ended.stderr.splitlines()
    assert last.startswith("lapwing: the collector died")
    assert "SIGKILL" in last
    assert all(json.loads(line)["action"] == "worker_ended" for line in retries)


def test_a_start_whose_rest_is_hopeless_ends(tmp_path: Path) -> None:
    """A first worker that acknowledges already, and cannot do the rest, ends it all with one clear line."""
    (tmp_path / "state.sqlite").write_bytes(b"this is no database " * 300)
    ended = subprocess.run(
        [*COMMAND, "up", "--data", str(tmp_path), "--http", "127.0.0.1:0", "--web", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert "is ready" in ended.stdout
    assert "cannot be used as the alert state" in ended.stderr.splitlines()[-1]


def test_a_new_worker_that_hangs_is_given_up(service: Service) -> None:
    """It is told and ended, the one before runs on, and the next restart works."""
    before = service.process.worker_pid
    with service.unreadable_settings():
        with service.saying("restart_failed"):
            service.process.restart()
        assert "within 3 s" in service.said("restart_failed")[-1]
        assert service.process.worker_pid == before
        assert service.post(request([prediction("hanging", "p", 1)])) == 200
    service.restart()
    assert service.process.worker_pid != before


IMPATIENT = """
import os, sys, threading, time

if "lapwing_collector.cli.up" in sys.orig_argv:
    import stat
    from lapwing_collector.app.processes import supervisor

    class Impatient(supervisor.Supervisor):
        def _restart(self):
            hangs = stat.S_ISFIFO(self.file.stat().st_mode)
            supervisor._RELIEF_S = 3.0 if hangs else 60.0
            super()._restart()

    supervisor.Supervisor = Impatient
"""


def test_a_worker_without_one_of_its_threads_is_replaced(service: Service) -> None:
    """Fault 22: a thread that fails takes its worker with it, and the next one has all threads."""
    with service.saying("worker_ready"):
        service.config.with_name("doom").touch()
    assert "status 1" in service.said("worker_ended")[-1]
    assert len(service.said("thread_failed")) == 1
    assert service.post(request([prediction("threads", "p", 1)])) == 200


FAILING_THREAD = """
def fail():
    while not os.path.exists({doom!r}):
        time.sleep(0.05)
    os.unlink({doom!r})
    raise RuntimeError("worn out")

if "lapwing_collector.app.processes.worker" in sys.orig_argv:
    threading.Thread(target=fail, daemon=True).start()
"""


def test_the_end_of_its_terminal_is_its_end(tmp_path: Path) -> None:
    """SIGHUP asks for a restart, but not where it says that the terminal was closed."""
    command = [*COMMAND, "up", "--data", str(tmp_path), "--http", "127.0.0.1:0", "--web", "127.0.0.1:0"]
    ended = subprocess.run(
        [sys.executable, "-c", IN_A_TERMINAL, *command], capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended


IN_A_TERMINAL = """
import os, pty, signal, sys
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # else nothing ends there under nohup
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
said = b""
while b"Ctrl-C" not in said:
    said += os.read(terminal, 4096)
os.close(terminal)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


def test_garbage_is_not_looked_for_in_what_stays() -> None:
    """Nobody looks for garbage while a worker imports; later somebody does, but not in what was imported."""
    gc.disable()
    try:
        _import_the_rest()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 10_000
    finally:
        gc.unfreeze()
        gc.enable()


def test_the_supervisor_is_light() -> None:
    """What holds the sockets has nothing of what receives, stores or asks."""
    heavy = (
        "{'pyarrow', 'duckdb', 'numpy', 'starlette', 'sqlalchemy', 'grpc', 'asyncio', 'typer', 'pydantic'}"
    )
    command = f"import sys, lapwing_collector.cli.up; print(*{heavy} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", command], check=True, capture_output=True, text=True)
    assert found.stdout.split() == []


def test_nothing_outlives_the_supervisor(own_service: Service, tmp_path: Path) -> None:
    """Killed without warning, it leaves no process behind, nor a port or a lock that is held."""
    assert own_service.post(request([prediction("orphans", "p", 1)])) == 200
    wait_until((own_service.data / "web.address").exists)
    with closing(http.client.HTTPConnection((own_service.data / "web.address").read_text().strip())) as web:
        web.request("GET", "/api/v1/sql?sql=SELECT+1")
        assert Answer.read(web).status == 200
    processes = descendants(own_service.process.pid)
    assert len(processes) >= 3  # worker, keeper of the catalog, a query process
    os.kill(own_service.process.pid, signal.SIGKILL)
    wait_until(lambda: all(map(is_gone, processes)))
    again = Service(tmp_path, http=own_service.address)
    assert again.stored("orphans") == (1, {"p"})
    assert again.process.stop() == 0


def test_a_worker_gives_memory_back(service: Service) -> None:
    """Whoever starts a worker tells its allocators to keep little, unless the environment says otherwise."""
    (environment,) = [
        (each / "environ").read_bytes().split(b"\0")
        for each in (Path(f"/proc/{pid}") for pid in descendants(service.process.pid))
        if b"lapwing_collector.app.processes.worker" in (each / "cmdline").read_bytes()
    ]
    assert {f"{name}={value}".encode() for name, value in FRUGAL.items()} <= set(environment)
    said = "import pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    done = subprocess.run(
        [sys.executable, "-c", said], check=True, capture_output=True, text=True, env=os.environ | FRUGAL
    )
    assert done.stdout == "system\n"
