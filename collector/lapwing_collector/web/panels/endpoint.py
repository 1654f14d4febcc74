"""`/api/v1/panels/<name>`: the rows of a panel, or its SQL."""

from collections.abc import Callable, Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lapwing_collector.errors import DecodeError
from lapwing_collector.model.queries import Ask
from lapwing_collector.web.answering import Answering
from lapwing_collector.web.panels.panel import Arguments, Panel, axis, written_out
from lapwing_collector.web.sql import format_of
from lapwing_collector.web.timing import Timing

_USUAL: Final = frozenset({"format", "model", "name", "from", "to", "last", "version"})


class PanelEndpoint:
    """Answers for panels."""

    def __init__(
        self,
        panels: Mapping[str, Panel],
        answering: Answering,
        arguments: Callable[[Mapping[str, str]], Arguments],
        *,
        max_rows: int,
        max_bytes: int,
    ) -> None:
        """Answer for `panels`.

        Args:
            panels: By name.
            answering: Runs their queries.
            arguments: What the parameters of an address ask for; it may block.
            max_rows: Rows of an answer.
            max_bytes: Bytes of an answer, as Arrow holds it.
        """
        self._panels = panels
        self._answering = answering
        self._arguments = arguments
        self._max_rows = max_rows
        self._max_bytes = max_bytes

    async def answer(self, request: Request) -> Response:
        """Answer with the rows of a panel in the format that is asked for; `format=sql` tells its SQL.

        Raises:
            DecodeError: The address is wrong.
            LapwingError: The query fails.
        """
        name = request.path_params["panel"]
        panel = self._panels.get(name)
        if panel is None:
            raise DecodeError(f"there is no panel {name[:80]!r}; there are {', '.join(self._panels)}", 404)
        asked = dict(request.query_params)
        unknown = sorted(asked.keys() - _USUAL - panel.parameters.keys())
        if unknown and "*" not in panel.parameters:
            known = ", ".join(sorted(_USUAL | panel.parameters.keys()))
            raise DecodeError(f"{unknown[0][:80]!r} is not known here; known are {known}")
        timing = Timing()
        with timing.of("models"):
            arguments = await self._answering.blocking(self._arguments, asked)
        query = panel.make(arguments)
        if asked.get("format") == "sql":
            return PlainTextResponse(written_out(query), headers={"Cache-Control": "no-store"})
        ask = Ask(
            query.sql,
            query.parameters,
            format_of(asked.get("format"), request.headers.get("accept", "")),
            max_rows=self._max_rows,
            max_bytes=self._max_bytes,
        )
        with timing.of("lake"):
            answer = await self._answering.answer(ask, request, name.replace("/", "-"))
        told = axis(arguments.span, query.step)
        answer.headers.update({f"Lapwing-{name.capitalize()}": str(value) for name, value in told.items()})
        answer.headers["Server-Timing"] = timing.header
        return answer
