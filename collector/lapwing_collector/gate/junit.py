"""An evaluation as JUnit XML, which CI systems show."""

from xml.etree import ElementTree as ET

from lapwing_collector.gate.values import Evaluation, Outcome
from lapwing_collector.gate.words import beside, labels, number, shown, side


def junit_of(evaluation: Evaluation) -> bytes:
    """A test suite with a test for each row that a rule judged; what only warns is skipped, and says why."""
    judged = [check for check in evaluation.checks if check.kind == "alert"]
    stopped = evaluation.stops
    passed = sum(check.outcome is Outcome.PASSED for check in judged)
    counts = {
        "tests": len(judged),
        "failures": sum(check.outcome is Outcome.FAILED for check in stopped),
        "errors": sum(check.outcome is not Outcome.FAILED for check in stopped),
        "skipped": len(judged) - passed - len(stopped),
    }
    name = shown(f"{evaluation.model} {evaluation.version or ''}".strip())
    told = {"name": name, "time": f"{evaluation.seconds:.3f}"}
    told |= {key: str(count) for key, count in counts.items()}
    root = ET.Element("testsuites")
    suite = ET.SubElement(root, "testsuite", told)
    for check in judged:
        row = labels(check)
        called = shown(check.rule) + (f" [{row}]" if row else "")
        case = ET.SubElement(suite, "testcase", {"classname": name, "name": called, "time": "0.000"})
        if check.outcome is Outcome.PASSED:
            continue
        kind = (
            "skipped" if check not in stopped else "failure" if check.outcome is Outcome.FAILED else "error"
        )
        numbers = [f"value {number(check.value)}", beside(check), f"{check.sample_count or 0:,} rows"]
        why = shown(check.text) or check.outcome.value
        element = ET.SubElement(case, kind, {"message": why})
        element.text = "\n".join([why, ", ".join(filter(None, numbers)), *map(shown, check.conditions)])
    output = ET.SubElement(suite, "system-out")
    output.text = "\n".join(side(each) for each in evaluation.sides)
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))
