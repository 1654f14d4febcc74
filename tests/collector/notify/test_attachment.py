"""Rows behind alerts as a file: what is in it, and that it arrives where files do."""

import csv
import io
from typing import Any

import pytest

from helpers.notify_messages import alert, notification
from helpers.notify_receivers import mail_server, webhook
from lapwing_collector.notify import Target, Verdict
from lapwing_collector.notify.attachment import samples_csv
from lapwing_collector.notify.messages import message_of
from lapwing_collector.notify.reach import ANYWHERE

ROWS = (
    {"time": "2026-11-24T14:00:11", "value": 250.5, "note": "=1+1", "inputs": {"a": [1, 2]}},
    {"time": "2026-11-24T14:01:11", "value": None, "more": 'plain, and "quoted"\nlines'},
)


def read(text: str) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_each_row_stands_behind_its_alert() -> None:
    """All columns of all rows; texts that a spreadsheet would compute are texts."""
    one = alert(sample=ROWS, attach=True)
    two = alert(sample=({"value": -1},), attach=True, labels={"alertname": "B"})
    not_wanted = alert(sample=({"value": 7},), attach=False)
    first, second, third = read(samples_csv([one, two, not_wanted]))
    assert first["alert"].startswith("FeatureDrift {")
    assert (first["value"], first["note"], first["inputs"]) == ("250.5", "'=1+1", '{"a": [1, 2]}')
    assert (second["value"], second["more"]) == ("", 'plain, and "quoted"\nlines')
    assert (third["alert"], third["value"]) == ("B {}", "-1")
    assert samples_csv([not_wanted, alert(sample=(), attach=True)]) == ""


def test_a_file_is_no_larger_than_a_mail_takes() -> None:
    """Whole rows are left out from the end."""
    rows = tuple({"n": number, "text": "x" * 500} for number in range(2_000))
    text = samples_csv([alert(sample=rows, attach=True)])
    found = read(text)
    assert 200_000 < len(text) <= 256 * 1024
    assert [row["n"] for row in found] == [str(number) for number in range(len(found))]
    assert found[-1]["text"] == "x" * 500


@pytest.mark.parametrize("news", [True, False])
def test_mails_bring_the_rows_of_what_is_news(news: bool) -> None:
    """A repeat brings no file again; a webhook has the rows in its document."""
    told = notification(alert(sample=ROWS, attach=True), changed=frozenset({"f-amount"} if news else ()))
    with mail_server() as mail, webhook() as hook:
        for target in (Target("m", mail.url()), Target("h", hook.url())):
            outcome = target.send(message_of(told, "k", target), ANYWHERE)
            assert outcome.verdict is Verdict.SENT, outcome.error
        (came,) = mail.inbox.items
        files = {part.get_filename(): part.get_content() for part in came.iter_attachments()}
        assert [name for name in files if name] == (["samples.csv"] if news else [])
        if news:
            assert [row["value"] for row in read(files["samples.csv"])] == ["250.5", ""]
        (document,) = [request.body for request in hook.inbox.items]
        assert document["attachments"] == []
        assert len(document["alerts"][0]["sample"]) == 2


def test_a_service_without_files_is_told_all_the_same() -> None:
    """It has no payload to take apart."""
    told = notification(alert(sample=ROWS, attach=True))
    target = Target("t", "workflows://example.com:443/abc/def")
    assert not target.takes_files
    assert message_of(told, "k", target).payload == ""
