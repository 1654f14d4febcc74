"""The lists of what has to hold are complete: each of their items has a test that says so."""

import re

from helpers.contract_tests import all_said

ITEMS = range(1, 35)
"""The last is what our own SDK has to do; the two before are what clients find that others wrote."""
FAULTS = range(1, 31)


def test_every_item_of_the_list_has_a_test() -> None:
    """No number of the list (5a) is without a test that names it, and none is named that is not there."""
    named = {int(number) for test in all_said() for number in re.findall(r"\b5a-(\d+)\b", test.text)}
    assert named == set(ITEMS)


def test_every_fault_is_staged() -> None:
    """No row of the table of faults (5b) is without a test that names it, and none is named beside it."""
    told = [
        match
        for test in all_said()
        for match in re.findall(r"\bFaults? (\d+(?:(?:, | and )\d+)*)", test.text)
    ]
    named = {int(number) for each in told for number in re.findall(r"\d+", each)}
    assert named == set(FAULTS)
