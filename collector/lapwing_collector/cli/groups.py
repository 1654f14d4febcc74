"""Groups of commands: how their help reads, and what they say of options that are wrong."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

import typer
from typer.core import TyperGroup

_OF_A_LIBRARY: Final = "Value error, "
"""What pydantic, by which typer checks options, puts before what is wrong."""


class Group(TyperGroup):
    """A group of commands, shown with their whole first sentence, however long."""

    def panels(self) -> Iterator[tuple[str, Sequence[str]]]:
        """Headings, and the commands under each."""
        yield "Commands", list(self.commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # handed over by typer
        """Write them to the help."""
        for panel, names in self.panels():
            if rows := [(name, _first_paragraph(self.commands[name].help)) for name in names]:
                with formatter.section(panel):
                    formatter.write_dl(rows)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what is wrong with its options is said without the words of the library behind."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = error.message.removeprefix(_OF_A_LIBRARY)
            raise


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").split("\n\n")[0].split())
