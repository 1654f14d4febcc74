"""One run of the gate: its verdict, and the numbers that it follows from."""

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from markupsafe import Markup

from lapwing_collector.errors import NotSeenYetError
from lapwing_collector.web.pages.page import Page, View

_ORDER: Final = ("bad", "warn", "ok", "")


def show(view: View) -> Mapping[str, Any]:
    """The run whose id the address tells as `run`, what failed first.

    Raises:
        NotSeenYetError: It tells none.
        UnknownEvaluationError: There is none of this id.
    """
    asked = view.asked.get("run")
    if not asked:
        raise NotSeenYetError("say which run: ?run=ID; the page of reports lists them")
    run = view.read("evaluations/{evaluation}", evaluation=asked)
    told = (side for each in run["checks"] for side, value in each["sides"].items() if value is not None)
    colour = partial(tone, lenient=run["allow_insufficient"])
    return {
        "run": run,
        "title": f"{run['model']} {run['version'] or ''}".strip(),
        "beside": list(dict.fromkeys(told)),
        "checks": sorted(run["checks"], key=lambda each: _ORDER.index(colour(each))),
        "tone": colour,
        "word": word,
        "picture": lambda chart: Markup(view.sources.picture(chart)),  # noqa: S704  # it escapes each text
    }


def tone(check: Mapping[str, Any], *, lenient: bool) -> str:
    """The colour of a check; where the run is `lenient`, what cannot be judged stops nothing."""
    if check["outcome"] in {"passed", "recorded"}:
        return "ok" if check["outcome"] == "passed" else ""
    stops = check["criticality"] == "fail" and not (lenient and check["outcome"] != "failed")
    return "bad" if stops else "warn"


def word(comparison: Mapping[str, Any]) -> str:
    """What the interval of a difference says of the candidate."""
    low, high = comparison["low"], comparison["high"]
    if low is None or high is None:
        return "unknown"
    if low <= 0 <= high:
        return "no clear difference"
    return "better" if (low > 0) == (comparison["better"] == "more") else "worse"


PAGE: Final = Page(path="/report", name="report", title="Report", show=show)
