"""The rows behind alerts as a file that comes with a message: CSV for those who take it apart. Pure."""

import csv
import io
import json
from collections.abc import Iterable
from typing import Any, Final

from lapwing_collector.formulas import disarmed
from lapwing_collector.model.alerts import Alert

ATTACHMENTS: Final = "attachments"
"""In the payload of services that take no document: files, each with `name` and `text`."""
FILE_NAME: Final = "samples.csv"
_MOST_CHARS: Final = 256 * 1024
_ALERT: Final = "alert"


def samples_csv(alerts: Iterable[Alert]) -> str:
    """The samples of alerts that want theirs attached, each row with its alert before it; empty for none.

    What is too much for a mail is left out from the end.
    """
    rows = [(_name(alert), row) for alert in alerts if alert.attach for row in alert.sample]
    if not rows:
        return ""
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    told = io.StringIO()
    writer = csv.writer(told, lineterminator="\r\n")
    writer.writerow([_ALERT, *map(_cell, columns)])
    for name, row in rows:
        end = told.tell()
        writer.writerow([_cell(name), *(_cell(row.get(column)) for column in columns)])
        if told.tell() > _MOST_CHARS:
            return told.getvalue()[:end]
    return told.getvalue()


def _name(alert: Alert) -> str:
    labels = {name: text for name, text in sorted(alert.labels.items()) if name != "alertname"}
    return f"{alert.labels.get('alertname', alert.rule.name)} {json.dumps(labels, ensure_ascii=False)}"


def _cell(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return disarmed(value)
        case _:
            return json.dumps(value, ensure_ascii=False)
