"""When alerts fired in the range of time of a page, as far as there is room for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lapwing_collector.web.pages.page import View

MOST: Final = 1_000
"""Alerts that are over: drawing more takes a browser long, and shows no more."""


@dataclass(frozen=True, slots=True)
class Past:
    """When alerts fired.

    Attributes:
        episodes: Those that fire still, then those that are over, newest first.
        cut: Whether more are over than these.
    """

    episodes: Sequence[Mapping[str, Any]]
    cut: bool


def past_of(view: View, **only: str) -> Past:
    """When alerts fired in the range of time; nothing while the state is away.

    Args:
        view: Of which page.
        only: What else is asked: the `rule` that they are of.
    """
    span = {"from": view.span.since.isoformat(), "to": view.span.until.isoformat()}
    found = view.read_or([], "episodes", **span, **only, most=str(MOST + 1))
    cut = sum(each["resolved_at"] is not None for each in found) > MOST
    return Past(found[:-1] if cut else found, cut)
