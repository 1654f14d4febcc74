"""Adding to YAML files that people wrote."""

import pytest
import yaml

from lapwing_collector.config import add_entry
from lapwing_collector.errors import ConfigError

ENTRY = {"name": "new", "url": "${file:secrets/new}"}
PLACE = ["receivers", 0, "apprise_configs"]

COMMENTED = """\
# who is told
route: {receiver: a}   # everybody

receivers:
  - name: a
    apprise_configs:
      - name: one     # the first
        url: ${env:ONE}
        # send_resolved: false

      - name: two
        url: "${env:TWO}"
        # not now:
        # send_resolved: false
    # after the list
  - name: b           # the other
    apprise_configs:
    - {name: three, url: x}
# the end
"""


def test_an_entry_is_added_and_every_other_byte_stays() -> None:
    """The new lines stand behind the last entry and its comments, indented as the list is."""
    text = add_entry(COMMENTED, PLACE, ENTRY, "notify.yaml")
    added = "      - name: new\n        url: ${file:secrets/new}\n"
    before, found, after = text.partition(added)
    assert found
    assert before + after == COMMENTED
    assert before.endswith("# send_resolved: false\n")
    assert after.startswith("    # after the list\n")


@pytest.mark.parametrize(
    "text",
    [
        COMMENTED,
        COMMENTED.replace("\n", "\r\n"),
        COMMENTED.removesuffix("\n# the end\n"),
        "receivers:\n- apprise_configs:\n  - name: one\n    url: |\n      long\n      text\n  name: a\n",
        "receivers:\n- name: a\n  apprise_configs:\n  - name: one\n    url: >-\n      folded",
        "receivers:\n- name: a\n  apprise_configs:\n  - {name: one,\n     url: x}\n",
        "receivers:\n- apprise_configs:\n  - one\n  - 'two\n    lines'\nother: 1\n",
    ],
)
def test_files_of_all_kinds_are_added_to(text: str) -> None:
    """What is read afterwards is what was read before, and the entry."""
    added = yaml.safe_load(add_entry(text, PLACE, ENTRY, "notify.yaml"))
    before = yaml.safe_load(text)
    assert added["receivers"][0]["apprise_configs"][-1] == ENTRY
    before["receivers"][0]["apprise_configs"].append(ENTRY)
    assert added == before


def test_a_nested_entry_is_added() -> None:
    """A whole receiver with its list is one entry, too."""
    receiver = {"name": "c", "apprise_configs": [ENTRY]}
    text = add_entry(COMMENTED, ["receivers"], receiver, "notify.yaml")
    assert yaml.safe_load(text)["receivers"][-1] == receiver
    assert text.endswith("# the end\n")


@pytest.mark.parametrize(
    "text",
    [
        "receivers: [{name: a, apprise_configs: [{name: one, url: x}]}]\n",
        "receivers:\n- name: a\n  apprise_configs: []\n",
    ],
)
def test_what_cannot_be_added_to_is_left_for_people(text: str) -> None:
    """The message has the lines to add, and where."""
    with pytest.raises(ConfigError) as refused:
        add_entry(text, PLACE, ENTRY, "notify.yaml")
    assert "notify.yaml: add this to receivers.0.apprise_configs yourself" in str(refused.value)
    assert "- name: new\n  url: ${file:secrets/new}" in str(refused.value)
