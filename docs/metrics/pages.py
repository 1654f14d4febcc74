"""Writes a page for each metric, and their list, from the headers over their SQL.

Run it as `python docs/metrics/pages.py` after a change to a metric.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from lapwing_collector.query import METRICS, Metric

FOLDER = Path(__file__).parent
INDEX = "README.md"
GROUPS = {
    "traffic": "Traffic, latency and delays",
    "quality": "Quality of data",
    "classification": "Classification",
    "regression": "Regression",
    "ranking": "Ranking and recommendation",
    "fairness": "Fairness",
    "drift": "Drift",
    "text": "Text",
    "embeddings": "Embeddings",
    "shadow": "Shadow, champion and challenger",
    "estimation": "Estimates without labels",
}
COMMON = {
    "model": "name of the model's table, as a text",
    "since": "where the span begins, a UTC time",
    "until": "where it ends, exclusive",
    "segments": "STRUCT of label columns: a row for each of their values",
    "every": "INTERVAL: a row for each window of this length; NULL: the whole span is one",
    "as_of": "a time: only what was received by then; NULL: everything",
    "stage": "which predictions: `production`, `shadow`, `candidate`; NULL: all",
    "weights": "how much each row counts, times its sampling weight",
    "confidence": "of the interval `low` to `high`; 0: none",
}
NEEDS = {"fields": "fields of `inputs`, `output` and `descriptors`"}
MARK = "<!-- what follows is written by pages.py -->\n"


def pages() -> dict[str, str]:
    """What every page has to be, by its file's name."""
    return {INDEX: _index()} | {f"{name}.md": _page(metric) for name, metric in METRICS.items()}


def _index() -> str:
    told, mark, _ = (FOLDER / INDEX).read_text(encoding="utf-8").partition(MARK)
    return told + mark + "".join(_group(name) for name in _groups())


def _groups() -> list[str]:
    order = list(GROUPS)
    return sorted({metric.group for metric in METRICS.values()}, key=order.index)


def _group(group: str) -> str:
    rows = "".join(
        f"| [{metric.name}]({metric.name}.md) | {_cell(metric.summary)} |\n"
        for metric in METRICS.values()
        if metric.group == group
    )
    return f"\n## {GROUPS[group]}\n\n| Metric | |\n|---|---|\n{rows}"


def _page(metric: Metric) -> str:
    return "\n".join(_lines(metric)) + "\n"


def _lines(metric: Metric) -> Iterator[str]:
    yield f"# {metric.name}\n"
    yield f"{metric.summary} One of the [metrics]({INDEX}) for {GROUPS[metric.group].lower()}.\n"
    yield f"```sql\n{metric.example}\n```\n"
    yield "| | |\n|---|---|"
    yield f"| Formula | {_cell(metric.formula)} |"
    yield f"| Agrees with | {_cell(metric.source)} |"
    if metric.needs:
        yield f"| Needs | {', '.join(NEEDS.get(need, f'`{need}`') for need in metric.needs)} |"
    yield "\n| Argument | Default | |\n|---|---|---|"
    for each in metric.parameters:
        default = "" if each.default is None else f"`{_cell(each.default)}`"
        yield f"| `{each.name}` | {default} | {_cell(each.meaning) or COMMON[each.name]} |"
    yield "\n## SQL\n"
    yield f"`lapwing metrics {metric.name} --sql` prints it with the pieces that it is made of.\n"
    yield "<!-- not run: it makes the metric -->"
    yield f"```sql\n{metric.sql};\n```"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main() -> None:
    """Write the pages, and remove those of metrics that are no more."""
    wanted = pages()
    for file in FOLDER.glob("*.md"):
        if file.name not in wanted:
            file.unlink()
    for name, text in wanted.items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    sys.stdout.write(f"{len(wanted)} pages\n")


if __name__ == "__main__":
    main()
