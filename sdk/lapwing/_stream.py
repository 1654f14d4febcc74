"""Generators, watched while their consumer draws from them."""

from collections.abc import AsyncGenerator, Generator
from typing import Any, Final, Protocol, Self

KEPT_ITEMS: Final = 100_000
"""Items of a generator that are recorded; it may be endless."""


class StreamObserver(Protocol):
    """Told how a generator ended; none of its methods raises."""

    def finish_stream(self, state: Any, items: list[Any]) -> None:
        """It gave these items and ended, or nobody wants more of them."""
        ...

    def fail(self, state: Any, error: BaseException) -> None:
        """It ended with this exception."""
        ...


class Stream:
    """A generator that another delegates to with `yield from`; what happens to it is passed on as it is."""

    def __init__(self, observer: StreamObserver, state: Any, generator: Generator[Any, Any, Any]) -> None:
        """Begin to watch a generator that was just made."""
        self._observer = observer
        self._state = state
        self._generator = generator
        self._items: list[Any] = []

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return self._step(self._generator.__next__)

    def send(self, value: Any) -> Any:
        """As a generator."""
        return self._step(self._generator.send, value)

    def throw(self, *error: Any) -> Any:
        """As a generator."""
        return self._step(self._generator.throw, *error)

    def close(self) -> None:
        """As a generator."""
        try:
            self._generator.close()
        except BaseException as error:
            self._observer.fail(self._state, error)
            raise
        self._observer.finish_stream(self._state, self._items)

    def _step(self, advance: Any, *arguments: Any) -> Any:
        try:
            item = advance(*arguments)
        except StopIteration:
            self._observer.finish_stream(self._state, self._items)
            raise
        except BaseException as error:
            self._observer.fail(self._state, error)
            raise
        if self._state is not None and len(self._items) < KEPT_ITEMS:
            self._items.append(item)
        return item


class AsyncStream:
    """An asynchronous generator that another passes on, there being no `yield from` for them."""

    def __init__(self, observer: StreamObserver, state: Any, generator: AsyncGenerator[Any, Any]) -> None:
        """Begin to watch a generator that was just made."""
        self._observer = observer
        self._state = state
        self._generator = generator
        self._items: list[Any] = []

    async def send(self, value: Any) -> tuple[bool, Any]:
        """As a generator, but tells whether there is an item, and the item."""
        return await self._step(self._generator.asend, value)

    async def throw(self, error: BaseException) -> tuple[bool, Any]:
        """As `send`."""
        return await self._step(self._generator.athrow, error)

    async def close(self) -> None:
        """As a generator."""
        try:
            await self._generator.aclose()
        except BaseException as error:
            self._observer.fail(self._state, error)
            raise
        self._observer.finish_stream(self._state, self._items)

    async def _step(self, advance: Any, argument: Any) -> tuple[bool, Any]:
        try:
            item = await advance(argument)
        except StopAsyncIteration:
            self._observer.finish_stream(self._state, self._items)
            return False, None
        except BaseException as error:
            self._observer.fail(self._state, error)
            raise
        if self._state is not None and len(self._items) < KEPT_ITEMS:
            self._items.append(item)
        return True, item
