"""From a call to a real HTTP receiver and back: nothing is lost, nothing is hidden."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from opentelemetry import context

import lapwing
from helpers.ports import free_port
from helpers.sdk_receiver import Answer, Receiver, partial_success, receiver
from lapwing import _process
from lapwing._config import resolve
from lapwing._http import HttpTransport


@pytest.fixture(autouse=True)
def _own_process_state() -> Iterator[None]:
    """Give each test a process that has recorded nothing, and put back what was."""
    before = _process.replace_sink(None)
    yield
    if (sink := _process.replace_sink(before)) is not None:
        sink.shutdown(0)


@pytest.fixture
def when_unavailable() -> Iterator[list[Callable[[], Any]]]:
    """Run the functions in the list when the exporter first says that the receiver is unavailable."""
    actions: list[Callable[[], Any]] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if "is unavailable" in record.getMessage():
                for action in actions:
                    action()

    handler, logger = Handler(), logging.getLogger("lapwing")
    logger.addHandler(handler)
    yield actions
    logger.removeHandler(handler)


def predict(*numbers: int) -> None:
    """Record a prediction for each number."""
    for number in numbers:
        lapwing.log_prediction(model="m", inputs={"n": number}, output=number)


def arrived(running: Receiver) -> list[int]:
    """Give the numbers that arrived, duplicates of one record once, as a collector stores them."""
    records = {
        (r.resource["lapwing.process.id"], r.attributes["lapwing.sequence"]): r for r in running.records
    }
    return [record.inputs["n"] for record in records.values()]


def test_records_arrive_as_otlp_says() -> None:
    """A flushed record has arrived at /v1/logs with OTLP's headers, numbered, and with its sender."""
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, service="shop", environment="live", headers={"x-key": "k"})
        predict(1, 2)
        lapwing.log_label(model="m", label=True, prediction_id="p")
        assert lapwing.flush()
        (request,) = running.requests
    assert request.path == "/v1/logs"
    assert request.headers["content-type"] == "application/x-protobuf"
    assert request.headers["user-agent"] == f"Lapwing-OTLP-Exporter-Python/{lapwing.__version__}"
    assert request.headers["x-key"] == "k"
    assert [record.attributes["lapwing.sequence"] for record in request.records] == [1, 2, 3]
    resource = request.records[0].resource
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("shop", "live")
    assert lapwing.stats() == lapwing.Stats(recorded=3, acknowledged=3, pending=0, dropped={})


def test_the_first_prediction_starts_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `init` records go where OpenTelemetry's variables say, wrong ones are told and do not count."""
    with receiver() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", f"{running.endpoint}/elsewhere")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
        predict(1)
        assert lapwing.flush()
        assert [request.path for request in running.requests] == ["/elsewhere"]


def test_gzip_is_sent_when_asked_for() -> None:
    """With compression the body is gzip, says so, and holds the same records."""
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, compression="gzip")
        predict(*range(100))
        assert lapwing.flush()
        (request,) = running.requests
    assert request.headers["content-encoding"] == "gzip"
    assert len(request.raw) < len(request.body) / 3
    assert len(request.records) == 100


def test_requests_go_in_order_and_in_batches() -> None:
    """A full batch is sent without waiting for its time, and requests keep the order of the calls."""
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, batch_size=10, delay_s=60)
        predict(*range(25))
        assert lapwing.flush()
    assert [record.inputs["n"] for record in running.records] == list(range(25))
    assert [len(request.records) for request in running.requests] == [10, 10, 5]


@pytest.mark.parametrize(
    "first",
    [
        Answer(503),
        Answer(429, headers={"Retry-After": "0"}),
        Answer(0),
        Answer(200, cut=True),
    ],
    ids=["503", "429", "closed", "cut"],
)
def test_a_request_without_a_yes_is_sent_again(first: Answer) -> None:
    """Unavailable, or closed before or amid the answer: the same bytes come again, and count once."""
    with receiver(first) as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1, 2)
        assert lapwing.flush()
    assert len(running.requests) == 2
    assert running.requests[0].raw == running.requests[1].raw
    assert lapwing.stats() == lapwing.Stats(2, 2, 0, {})


@pytest.mark.parametrize("status", [307, 400, 413, 500])
def test_a_refused_request_is_dropped_counted_and_told(status: int, caplog: pytest.LogCaptureFixture) -> None:
    """5a-34: a refusal is not sent again; its records count as rejected; flush and the log say so."""
    with receiver(*[Answer(status, headers={"Location": "/other"})] * 2) as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1, 2)
        assert not lapwing.flush()
        predict(3)
        assert not lapwing.flush()
        assert len(running.requests) == 2
    assert lapwing.stats() == lapwing.Stats(3, 0, 0, {"rejected": 3})
    (told,) = [record.getMessage() for record in caplog.records if record.name == "lapwing"]
    assert told == f"2 records were dropped (rejected): {running.endpoint}/v1/logs: status {status}"


def test_partial_success_is_counted_and_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    """Records that the receiver rejects are counted, the others acknowledged, and nothing is sent again."""
    with receiver(partial_success(2, "no such model")) as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1, 2, 3)
        assert not lapwing.flush()
        assert len(running.requests) == 1
    assert lapwing.stats() == lapwing.Stats(3, 1, 0, {"rejected": 2})
    assert "no such model" in caplog.text


def test_an_endless_answer_is_no_answer() -> None:
    """5a-34: a reply beyond 4 MiB is not read on, and its request is not acknowledged."""
    with receiver(Answer(body=bytes(4 * 1024 * 1024 + 1))) as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1)
        assert not lapwing.flush()
    assert lapwing.stats().dropped == {"rejected": 1}


def test_a_receiver_that_comes_up_later_gets_everything(when_unavailable: list[Callable[[], Any]]) -> None:
    """What was recorded while nobody listened is delivered once someone does."""
    port, late = free_port(), []
    when_unavailable.append(lambda: late.append(Receiver((), port)))
    lapwing.init(endpoint=f"http://127.0.0.1:{port}")
    predict(1, 2, 3)
    assert lapwing.flush()
    assert arrived(late[0]) == [1, 2, 3]
    late[0].close()


def test_what_cannot_be_delivered_is_given_up(caplog: pytest.LogCaptureFixture) -> None:
    """After the time for retrying, records are counted as undeliverable, and flush says no."""
    lapwing.init(endpoint=f"http://127.0.0.1:{free_port()}", retry_for_s=0)
    predict(1, 2)
    assert not lapwing.flush()
    assert lapwing.stats() == lapwing.Stats(2, 0, 0, {"undeliverable": 2})
    assert "2 records were dropped (undeliverable)" in caplog.text


def test_a_full_queue_drops_without_blocking(caplog: pytest.LogCaptureFixture) -> None:
    """5a-34: while the receiver hangs, calls go on; what does not fit is dropped, counted, and told once."""
    hanging = threading.Event()
    with receiver(Answer(before=lambda: hanging.wait(60))) as running:
        lapwing.init(endpoint=running.endpoint, queue_size=8, batch_size=4)
        predict(*range(20))
        stats = lapwing.stats()
        assert (stats.recorded, stats.pending, stats.dropped) == (20, 8, {"queue_full": 12})
        hanging.set()
        assert not lapwing.flush()
        assert arrived(running) == list(range(8))
    assert caplog.text.count("queue_full") == 1


def test_waiting_loses_nothing_while_the_collector_is_away(when_unavailable: list[Callable[[], Any]]) -> None:
    """With on_full="wait" a replay goes on after the collector dies with a request and comes back later."""
    running: list[Receiver] = []
    dying = threading.Thread(target=lambda: running[0].close())  # noqa: PLW0108  # there is none yet

    def come_back() -> None:
        dying.join()
        running.append(Receiver((), running[0].port))

    running.append(Receiver([Answer(), Answer(0, before=dying.start)], 0))
    when_unavailable.append(come_back)
    lapwing.init(endpoint=running[0].endpoint, on_full="wait", queue_size=8, batch_size=4)
    predict(*range(100))
    assert lapwing.flush()
    assert lapwing.stats() == lapwing.Stats(100, 100, 0, {})
    first, second = running
    assert sorted({*arrived(first), *arrived(second)}) == list(range(100))
    assert first.requests[1].raw == second.requests[0].raw
    second.close()


def test_waiting_ends_with_shutdown() -> None:
    """A call that waits for room goes on when the exporter is shut down, its record counted."""
    hanging = threading.Event()
    with receiver(Answer(before=lambda: hanging.wait(60))) as running:
        lapwing.init(endpoint=running.endpoint, on_full="wait", queue_size=2, batch_size=2)
        predict(1, 2)
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(predict, 3)
            assert not lapwing.shutdown(timeout_s=0.05)
            waiting.result(timeout=30)
        assert lapwing.stats() == lapwing.Stats(3, 0, 2, {"shutdown": 1})
        hanging.set()


def test_flush_does_not_wait_longer_than_asked() -> None:
    """While the receiver hangs, flush comes back in time and says that not everything arrived."""
    hanging = threading.Event()
    with receiver(Answer(before=lambda: hanging.wait(60))) as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1)
        assert not lapwing.flush(timeout_s=0.05)
        assert lapwing.stats().pending == 1
        hanging.set()
        assert lapwing.flush()


def test_shutdown_sends_and_then_takes_no_more() -> None:
    """Shutdown delivers what is there; later records are dropped and counted, until a new init."""
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1)
        assert lapwing.shutdown()
        predict(2)
        assert lapwing.stats() == lapwing.Stats(2, 1, 0, {"shutdown": 1})
        lapwing.init(endpoint=running.endpoint)
        predict(3)
        assert lapwing.flush()
        assert arrived(running) == [1, 3]
    assert len({record.resource["lapwing.process.id"] for record in running.records}) == 2


def test_shutdown_does_not_sit_out_a_long_delay(when_unavailable: list[Callable[[], Any]]) -> None:
    """While the exporter waits to try again, shutdown makes it try at once."""
    waiting = threading.Event()
    when_unavailable.append(waiting.set)
    with receiver(Answer(503, headers={"Retry-After": "50"})) as running:
        lapwing.init(endpoint=running.endpoint, delay_s=0)
        predict(1)
        assert waiting.wait(60)
        assert lapwing.shutdown(timeout_s=10)


def test_init_again_sends_what_was_recorded_before() -> None:
    """A second `init` first delivers to the old place, then starts anew at the new one."""
    with receiver() as old, receiver() as new:
        lapwing.init(endpoint=old.endpoint)
        predict(1)
        lapwing.init(endpoint=new.endpoint)
        predict(2)
        assert lapwing.flush()
        assert (arrived(old), arrived(new)) == ([1], [2])


def test_many_threads_lose_nothing() -> None:
    """Records of many threads all arrive, each with a number of its own, in the order of the numbers."""
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, on_full="wait", queue_size=64, batch_size=32)
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda k: predict(*range(k * 100, k * 100 + 100)), range(8)))
        assert lapwing.flush()
    assert sorted(arrived(running)) == list(range(800))
    assert [r.attributes["lapwing.sequence"] for r in running.records] == list(range(1, 801))


def test_disabled_means_nothing_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OTEL_SDK_DISABLED watched functions run, and nothing is recorded or sent."""
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert lapwing.watch(model="m")(lambda x: x)(3) == 3
    predict(1)
    assert lapwing.flush()
    assert lapwing.shutdown()
    assert lapwing.stats() == lapwing.Stats(0, 0, 0, {})


def test_an_error_in_the_exporter_is_counted_and_survived(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An unexpected failure costs its batch, with a reason, and the next batch is delivered."""
    failures = iter([RuntimeError("a bug")])
    post = HttpTransport.post

    def flaky(self: HttpTransport, *args: Any, **kwargs: Any) -> Any:
        for failure in failures:
            raise failure
        return post(self, *args, **kwargs)

    monkeypatch.setattr(HttpTransport, "post", flaky)
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1)
        assert not lapwing.flush()
        predict(2)
        lapwing.flush()
        assert arrived(running) == [2]
    assert lapwing.stats() == lapwing.Stats(2, 1, 0, {"internal_error": 1})
    assert "1 records were dropped (internal_error): RuntimeError('a bug')" in caplog.text


def test_exporting_is_not_itself_instrumented(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are sent with OpenTelemetry's instrumentation suppressed, in the exporter's thread only."""
    seen = []
    post = HttpTransport.post

    def spy(self: HttpTransport, *args: Any, **kwargs: Any) -> Any:
        seen.append(context.get_value("suppress_instrumentation"))
        return post(self, *args, **kwargs)

    monkeypatch.setattr(HttpTransport, "post", spy)
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint)
        predict(1)
        assert lapwing.flush()
    assert seen == [True]
    assert context.get_value("suppress_instrumentation") is None


def test_a_logging_handler_that_fails_does_not_reach_the_host() -> None:
    """An exception from the host's own logging, while a drop is told, stays inside."""

    class Broken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise RuntimeError(record.name)

    handler, logger = Broken(), logging.getLogger("lapwing")
    logger.addHandler(handler)
    try:
        lapwing.init(endpoint="http://127.0.0.1:9")
        lapwing.log_label(model="m", label=1)
    finally:
        logger.removeHandler(handler)
    assert lapwing.stats().dropped == {"encode_error": 1}


def test_an_error_that_cannot_be_told_does_not_reach_the_host() -> None:
    """An exception whose own text fails, met while encoding, stays inside, and costs its record only."""

    class Unspeakable(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError

        __repr__ = __str__

    class Features(dict[str, int]):
        def items(self) -> Any:
            raise Unspeakable

    lapwing.init(endpoint="http://127.0.0.1:9")
    lapwing.log_prediction(model="m", inputs=Features(), output=1)
    assert lapwing.stats().dropped == {"encode_error": 1}


def test_batches_never_outgrow_the_queue() -> None:
    """A batch size beyond the queue's means batches of the queue's size, so that a full queue is sent."""
    settings = resolve({"queue_size": 4, "batch_size": 512}, {}, lambda _: None)
    assert settings.batch_size > settings.queue_size
    with receiver() as running:
        lapwing.init(endpoint=running.endpoint, queue_size=4, on_full="wait", delay_s=60)
        predict(*range(10))
        assert lapwing.flush()
    assert arrived(running) == list(range(10))
