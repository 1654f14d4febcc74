"""What a page is, and what it is given to show."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from lapwing_collector.errors import UnknownModelError
from lapwing_collector.model.description import ModelDescription
from lapwing_collector.web.panels import Arguments, Panel
from lapwing_collector.web.sources import KnownModel, Models, Sources
from lapwing_collector.web.span import Span


@dataclass(frozen=True, slots=True)
class View:
    """One look at a page: what its address asks for, and where what it shows comes from.

    Attributes:
        path: The page's address.
        asked: The parameters of the address; of several with one name the last.
        span: The range of time.
        now: The time.
        sources: What there is to show.
        models: The models that there are.
        known_panels: All panels, by name.
    """

    path: str
    asked: Mapping[str, str]
    span: Span
    now: datetime
    sources: Sources
    models: Models
    known_panels: Mapping[str, Panel]

    @property
    def model(self) -> str | None:
        """The model that the address names."""
        return self.asked.get("name") or None

    def known_model(self) -> KnownModel:
        """The model that the address names.

        Raises:
            UnknownModelError: It names none, or one that does not exist.
        """
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
        return self.known_model().table

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
        found: list[dict[str, Any]] = self.sources.rows(sql, **parameters).to_pylist()
        return found

    def read(self, address: str, **parts: str) -> Any:
        """A document of the API: `read("alerts")`, `read("alerts/{fingerprint}", fingerprint=…)`.

        Raises:
            LapwingError: There is none, or it cannot be read.
        """
        return self.sources.reads[address](parts)

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
        told = {name: value for name, value in (kept | changes).items() if value not in (None, "")}
        return (path or self.path) + (f"?{urlencode(told)}" if told else "")

    def panel(self, name: str, **asked: str | None) -> str:
        """The address of a panel, for this model and range of time."""
        told = {"model": self.model, "version": self.asked.get("version")} | self.span.asked() | asked
        told = {key: value for key, value in told.items() if value not in (None, "")}
        return f"/api/v1/panels/{name}" + (f"?{urlencode(told)}" if told else "")


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
    """

    path: str
    name: str
    title: str
    show: Show
    nav: str = ""
    of_model: bool = False
    panels: Sequence[Panel] = field(default=())
