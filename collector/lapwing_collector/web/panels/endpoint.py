"""`/api/v1/panels/<name>`: the rows of a panel, or its SQL."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from lapwing_collector.clock import epoch_ns
from lapwing_collector.errors import DecodeError
from lapwing_collector.model.queries import Ask
from lapwing_collector.web.answering import Answering
from lapwing_collector.web.panels.panel import Arguments, Panel, written_out
from lapwing_collector.web.span import Span
from lapwing_collector.web.sql import format_of

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
        answer = await self._answering.answer(ask, request, name.replace("/", "-"))
        answer.headers.update(_times(arguments.span, query.step))
        return answer


def _times(span: Span, step: timedelta | None) -> dict[str, str]:
    """What a chart has to know of its time axis, in milliseconds since the epoch."""
    moments = {"From": span.since, "To": span.until, "Start": span.start}
    told = {f"Lapwing-{name}": str(epoch_ns(moment) // 1_000_000) for name, moment in moments.items()}
    step = span.step if step is None else step
    return told | {"Lapwing-Step": str(int(step.total_seconds() * 1000))}
