"""Keeps a run of the gate where it was asked to: in a data directory, or by a collector at an address."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import urllib3

from lapwing_collector.app.places.project import settings_for
from lapwing_collector.app.upkeep.keeping import keep_evaluation
from lapwing_collector.config import Settings
from lapwing_collector.errors import LapwingError

_TIMEOUT: Final = urllib3.Timeout(connect=10.0, read=60.0)


def keep_run(settings: Settings, lake: str | None, token: str | None, document: Mapping[str, Any]) -> None:
    """Keep a run of the gate.

    Args:
        settings: Name the data directory, where nothing else does.
        lake: A data directory, or the address of a collector.
        token: With the scope `admin`, for a collector that asks for one.
        document: The run, as JSON has it.

    Raises:
        LapwingError: It cannot be kept.
    """
    if lake is None:
        keep_evaluation(settings, document)
    elif not lake.startswith(("http://", "https://")):
        keep_evaluation(settings_for(None, {"data": Path(lake)}), document)
    else:
        _send(f"{lake.rstrip('/')}/api/v1/admin/keep-evaluation", token, {"evaluation": document})


def _send(url: str, token: str | None, body: Mapping[str, Any]) -> None:
    headers = {"content-type": "application/json"}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    try:
        answer = urllib3.request(
            "POST", url, body=json.dumps(body).encode(), headers=headers, timeout=_TIMEOUT, retries=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise LapwingError(f"{url} gives no answer, so that the run is not kept: {error}") from error
    if answer.status != 200:
        raise LapwingError(f"{url} does not keep the run ({answer.status}): {_detail(answer.data)}")


def _detail(body: bytes) -> str:
    try:
        return str(json.loads(body)["detail"])
    except (ValueError, KeyError, TypeError):
        return "is this a collector?"
