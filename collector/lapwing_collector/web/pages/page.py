"""What a page is, and what it is given to show."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any
from urllib.parse import urlencode

from lapwing_collector.errors import StateUnavailableError, UnknownModelError
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.web.panels import Arguments, Panel
from lapwing_collector.web.sources import KnownModel, Models, Sources
from lapwing_collector.web.span import Span
from lapwing_collector.web.timing import Timing


@dataclass(frozen=True, slots=True)
class View:
    """One look at a page: what its address asks for, and where what it shows comes from.

    Attributes:
        path: The page's address.
        asked: The parameters of the address; of several with one name the last.
        span: The range of time.
        now: The time.
        news: How far it had been told what is new, before anything was asked.
        sources: What there is to show.
        models: The models that there are.
        known_panels: All panels, by name.
        away: Why the alert state could not be asked, as far as something was asked of it.
        found: What the page has found out before it began.
        timing: What took how long.
    """

    path: str
    asked: Mapping[str, str]
    span: Span
    now: datetime
    news: str
    sources: Sources
    models: Models
    known_panels: Mapping[str, Panel]
    away: list[str] = field(default_factory=list)
    found: Any = None
    timing: Timing = field(default_factory=Timing)

    @property
    def model(self) -> str | None:
        """The model that the address names."""
        return self.asked.get("name") or None

    def known_model(self) -> KnownModel:
        """The model that the address names.

        Raises:
            UnknownModelError: It names none, or one that does not exist.
        """
        with self.timing.of("models"):
            known = None if self.model is None else self.models.named(self.model)
        if known is None:
            raise UnknownModelError(
                f"there is no model {self.model!r} here"
                if self.model
                else "say which model: ?name=NAME; the overview lists those there are"
            )
        return known

    def table(self) -> str:
        """The name of the tables of the model that the address names.

        Raises:
            UnknownModelError: It names none, or one that does not exist.
        """
        with self.timing.of("models"):
            table = None if self.model is None else self.models.table(self.model)
        return table or self.known_model().table

    def description(self) -> ModelDescription:
        """What is known of the model that the address names.

        Raises:
            LapwingError: There is no such model, or the lake cannot be asked.
        """
        table = self.table()
        return self.models.descriptions([table])[table]

    def rows(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query, by column.

        Raises:
            LapwingError: It cannot be answered.
        """
        with self.timing.of("lake"):
            found: list[dict[str, Any]] = self.sources.rows(sql, **parameters).to_pylist()
        return found

    @contextmanager
    def beside(self, sql: str, **parameters: Any) -> Iterator[Callable[[], list[dict[str, Any]]]]:
        """Ask for the rows of a query while others are asked; what this gives waits for them.

        Raises:
            LapwingError: What is given raises it where the query cannot be answered.
        """

        def wait() -> list[dict[str, Any]]:
            with self.timing.of("lake"):
                found: list[dict[str, Any]] = asked.result().to_pylist()
                return found

        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(self.sources.rows, sql, **parameters)
            yield wait

    def read(self, address: str, **parts: str) -> Any:
        """A document of the API: `read("alerts")`, `read("alerts/{fingerprint}", fingerprint=…)`.

        Raises:
            LapwingError: There is none, or it cannot be read.
        """
        with self.timing.of("documents"):
            return self.sources.reads[address](parts)

    def read_or(self, otherwise: Any, address: str, **parts: str) -> Any:
        """A document of the API; `otherwise` while the alert state is away, which the page then tells.

        Raises:
            LapwingError: There is none, or it cannot be read.
        """
        try:
            return self.read(address, **parts)
        except StateUnavailableError as error:
            self.away.append(str(error))
            return otherwise

    def panel_rows(self, name: str, **asked: str) -> list[dict[str, Any]]:
        """The rows of a panel, for what must be there at first paint.

        Raises:
            LapwingError: They cannot be read.
        """
        table = self.table() if self.model else None
        arguments = Arguments(self.span, self.model, table, {**self.asked, **asked})
        query = self.known_panels[name].make(arguments)
        return self.rows(query.sql, **query.parameters)

    def link(self, path: str | None = None, **changes: str | None) -> str:
        """An address with the range of time, and where it stays on this page everything else as it is.

        Args:
            path: Of another page; this one if None.
            changes: Parameters that are to be other ones; None leaves one out.
        """
        kept = dict(self.asked) if path is None else self.span.asked()
        told = [_pair(name, value) for name, value in (kept | changes).items() if value not in (None, "")]
        return (path or self.path) + (f"?{'&'.join(told)}" if told else "")

    def panel(self, name: str, **asked: str | None) -> str:
        """The address of a panel, for this model and range of time."""
        told = {"model": self.model, "version": self.asked.get("version")} | self.span.asked() | asked
        pairs = [_pair(key, value) for key, value in told.items() if value not in (None, "")]
        return f"/api/v1/panels/{name}" + (f"?{'&'.join(pairs)}" if pairs else "")


@lru_cache(4096)
def _pair(name: str, value: Any) -> str:
    """A parameter as it stands in an address; a page of rows has thousands, most of them the same."""
    return urlencode({name: value})


Show = Callable[[View], Mapping[str, Any]]
"""Gives the values that a page's template shows; may block. LapwingErrors are told."""


class ElsewhereError(Exception):
    """What is asked for has another address.

    Attributes:
        address: That one.
    """

    def __init__(self, address: str) -> None:
        """Keep the address."""
        super().__init__(address)
        self.address = address


@dataclass(frozen=True, slots=True)
class Page:
    """A page.

    Attributes:
        path: Its address.
        name: That of its template, `templates/<name>.html`.
        title: What it is called at the top of the window.
        show: Gives what it shows.
        nav: What it is called in the navigation; empty where it is not there.
        of_model: Whether it is about one model, whose name its address tells as `name`.
        panels: Its panels beside those of files.
        in_place: Whether another range of time is shown without leaving it; not where it has a script of its
            own, which begins with the page.
        begins: Whether its head is sent while it is looked up what the page shows.
        finds: Finds out, before that, whether what the address asks for can be shown; what is wrong is
            answered as such, and what it gives is there for `show` as `found`.
    """

    path: str
    name: str
    title: str
    show: Show
    nav: str = ""
    of_model: bool = False
    panels: Sequence[Panel] = field(default=())
    in_place: bool = False
    begins: bool = False
    finds: Callable[[View], Any] = lambda _: None
