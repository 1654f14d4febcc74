"""Generators, watched while their consumer draws from them."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from lapwing._scope import Details, annotations, set_annotations

KEPT_ITEMS: Final = 100_000
"""Items of a generator that are recorded; it may be endless."""


class StreamObserver(Protocol):
    """Told how a generator began and ended; none of its methods raises."""

    def begin(self, captured: tuple[Any, ...], keywords: dict[str, Any] | None = None) -> Any:
        """It begins with these arguments; returns the state of the call."""
        ...

    def finish_stream(self, state: Any, items: list[Any]) -> None:
        """It gave these items and ended, or nobody wants more of them."""
        ...

    def fail(self, state: Any, error: BaseException) -> None:
        """It ended with this exception."""
        ...


class _Watched:
    """What is noted of a generator. Its consumer goes on in between, so each has annotations of its own."""

    def __init__(
        self, observer: StreamObserver, captured: tuple[Any, ...], keywords: dict[str, Any] | None = None
    ) -> None:
        """Begin to watch a generator that was just made with these arguments."""
        self._observer = observer
        self._items: list[Any] = []
        self._inside: Details | None = None
        self._outside = annotations()
        self._state = observer.begin(captured, keywords)
        set_annotations(self._outside)

    def _enter(self) -> None:
        self._outside = annotations()
        set_annotations(self._inside)

    def _leave(self) -> None:
        self._inside = annotations()
        set_annotations(self._outside)

    def _keep(self, item: Any) -> tuple[bool, Any]:
        if self._state is not None and len(self._items) < KEPT_ITEMS:
            self._items.append(item)
        return True, item

    def _finish(self) -> None:
        self._observer.finish_stream(self._state, self._items)

    def _fail(self, error: BaseException, thrown: object) -> None:
        if isinstance(error, GeneratorExit) and isinstance(thrown, GeneratorExit):
            self._finish()  # nobody wants more
        else:
            self._observer.fail(self._state, error)


class Stream(_Watched):
    """A generator that another passes on."""

    def step(self, advance: Callable[[Any], Any], given: Any) -> tuple[bool, Any]:
        """Send or throw something into it; tell whether there is an item, and the item or the result."""
        self._enter()
        try:
            return self._keep(advance(given))
        except StopIteration as end:
            self._finish()
            return False, end.value
        except BaseException as error:
            self._fail(error, given)
            raise
        finally:
            self._leave()
            del given  # what was thrown would hold itself through its traceback


class AsyncStream(_Watched):
    """An asynchronous generator that another passes on."""

    async def step(self, advance: Callable[[Any], Awaitable[Any]], given: Any) -> tuple[bool, Any]:
        """As `Stream.step`; there is no result."""
        self._enter()
        try:
            return self._keep(await advance(given))
        except StopAsyncIteration:
            self._finish()
            return False, None
        except BaseException as error:
            self._fail(error, given)
            raise
        finally:
            self._leave()
            del given  # as above
