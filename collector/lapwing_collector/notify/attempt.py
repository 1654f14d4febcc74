"""One try to send: where its connections may go, how long it may take, and what was answered.

Apprise tells neither a status nor why a connection failed, and its timeouts hold for a single read, so that a
server which answers a byte at a time would keep a target busy for hours. What a try really does is therefore
watched where the interpreter opens sockets and where `requests` gets its answers, for the thread that tries
and no other.
"""

import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any, Final

from lapwing_collector.notify.reach import Reach

_CONNECTING: Final = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_BROKEN: Final = (BrokenPipeError, ConnectionAbortedError, ConnectionResetError)
_NETWORKS: Final = (socket.AF_INET, socket.AF_INET6)


class ReachRefusedError(OSError):
    """A connection would have left the networks that notifications may go to."""


class Attempt:
    """What is known of one try.

    Attributes:
        status: The HTTP status of the newest answer, None where there was none.
        retry_after: What it said in the header Retry-After, None where it did not.
        reply: The code with which a mail server refused, None where it did not.
        trouble: Why there was no answer, in words that hold no address of a service; empty where nobody
        knows.
        expired: It took too long and was ended.
        out_of_reach: It would have gone where notifications may not go.
    """

    def __init__(self, reach: Reach, limit_s: float) -> None:
        """Try within `reach` for at most `limit_s` seconds."""
        self.status: int | None = None
        self.retry_after: str | None = None
        self.reply: int | None = None
        self.trouble = ""
        self.expired = False
        self.out_of_reach = False
        self._reach = reach
        self._limit_s = limit_s
        self._sockets: list[socket.socket] = []
        self._changing = threading.Lock()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch what this thread does for the length of the block, and end it when its time is over."""
        _watch()
        timer = threading.Timer(self._limit_s, self._expire)
        timer.daemon = True
        timer.start()
        _running.attempt = self
        try:
            yield
        finally:
            _running.attempt = None
            timer.cancel()
            with self._changing:
                held, self._sockets = self._sockets, []
            for each in held:
                each.close()

    def connecting(self, connection: socket.socket, address: Any) -> None:
        """Let `connection` go to `address`, or not.

        Raises:
            OSError: It may not, or the time is over.
        """
        if address is None:
            return  # it is connected, which was judged
        host = address[0] if connection.family in _NETWORKS and isinstance(address, tuple) else str(address)
        refusal = self._reach.refusal(str(host))
        self.out_of_reach = refusal is not None
        if refusal is not None:
            self.trouble = refusal
            raise ReachRefusedError(refusal)
        with self._changing:
            if self.expired:
                raise TimeoutError(self._too_long())
            # TLS takes the connection away from its first socket object, and descriptors are given again:
            # only a copy is sure to be this connection for as long as it is held.
            self._sockets.append(connection.dup())

    def answered(self, status: int, retry_after: str | None) -> None:
        """Note an HTTP answer."""
        self.status, self.retry_after, self.trouble = status, retry_after, ""

    def failed(self, error: BaseException) -> None:
        """Note that an HTTP request got no answer."""
        self.status = self.retry_after = None
        self.trouble = self._too_long() if self.expired else _plain_words(error)

    def _expire(self) -> None:
        with self._changing:
            self.expired = True
            self.trouble = self._too_long()
            for each in self._sockets:
                with suppress(OSError):  # it is not connected yet, or not any more
                    each.shutdown(socket.SHUT_RDWR)

    def _too_long(self) -> str:
        return f"it was not done within {self._limit_s:g} s"


class _Running(threading.local):
    attempt: Attempt | None = None


_running = _Running()


def _on_event(
    event: str,
    arguments: tuple[Any, ...],
    # Held here: when the interpreter ends, a hook outlives what its module named.
    connecting: frozenset[str] = _CONNECTING,
    running: _Running = _running,
) -> None:
    if event in connecting and (attempt := running.attempt) is not None:
        attempt.connecting(arguments[0], arguments[1])


@cache
def _watch() -> None:
    """Begin to hear of connections; an audit hook stays for as long as the process."""
    sys.addaudithook(_on_event)


def observed(send: Callable[..., Any], broken_off: type[Exception]) -> Callable[..., Any]:
    """Wrap the method of `requests` that every answer comes through: the running attempt learns of it.

    Args:
        send: The method.
        broken_off: Raised in place of an answer that came when the attempt was ended: what was read up to
        there may
            look whole, and is not.
    """

    def observing(*arguments: Any, **options: Any) -> Any:
        attempt = _running.attempt
        if attempt is None:
            return send(*arguments, **options)
        try:
            response = send(*arguments, **options)
        except Exception as error:
            attempt.failed(error)
            raise
        if attempt.expired:
            ended = broken_off()
            attempt.failed(ended)
            raise ended
        attempt.answered(response.status_code, response.headers.get("Retry-After"))
        return response

    return observing


def _plain_words(error: BaseException) -> str:
    """Why a request failed, without the address that the exceptions of HTTP libraries show."""
    causes = list(_causes(error))
    told = next(filter(None, map(_words_of, causes)), None)
    if told is not None:
        return told
    names = {type(cause).__name__ for cause in causes}
    if names & {"ConnectTimeout", "ConnectTimeoutError"}:
        return "no connection in time"
    if names & {"ReadTimeout", "ReadTimeoutError"}:
        return "no answer in time"
    return "the answer was broken off"


def _words_of(cause: BaseException) -> str | None:
    """What an exception says by itself, None for nothing that helps."""
    match cause:
        case ReachRefusedError():
            return str(cause)
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {cause.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {cause.reason or 'broken off'}"
        case socket.gaierror():
            return "its name cannot be resolved"
        case OSError(strerror=str(text)) if not isinstance(cause, _BROKEN):
            return text.lower()
        case _:
            return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What is behind an exception: where it came from, and the exceptions that it holds as an argument."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__cause__, each.__context__, getattr(each, "reason", None), *each.args]
