"""Outcomes of tests as JUnit XML, which CI systems show."""

from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from lapwing_collector.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapwing_collector.app.rule_tools.rule_tests import Tested


def write_junit(file: Path, tested: "Sequence[Tested]") -> None:
    """Write a test suite for each test file.

    Raises:
        ConfigError: The file cannot be written.
    """
    root = ET.Element("testsuites")
    for name in dict.fromkeys(each.file for each in tested):
        cases = [each for each in tested if each.file == name]
        counts = {"tests": len(cases), "failures": sum(bool(each.failures) for each in cases), "errors": 0}
        took = f"{sum(each.seconds for each in cases):.3f}"
        told = {"name": name, "time": took, **{key: str(count) for key, count in counts.items()}}
        suite = ET.SubElement(root, "testsuite", told)
        for each in cases:
            case = ET.SubElement(
                suite, "testcase", {"classname": name, "name": each.name, "time": f"{each.seconds:.3f}"}
            )
            for failure in each.failures:
                first = failure.partition("\n")[0]
                ET.SubElement(case, "failure", {"message": first}).text = failure
    ET.indent(root)
    try:
        ET.ElementTree(root).write(file, encoding="utf-8", xml_declaration=True)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from error
