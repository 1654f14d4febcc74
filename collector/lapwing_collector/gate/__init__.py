"""The evaluation flow and reports: what the same rules and metrics say of a candidate, and how it is told.

Pure: what rules and metrics gave is an argument, texts and values come out. What a metric is, is said in the
library of metrics alone.
"""

from lapwing_collector.gate.advice import ENOUGH, advise, needed
from lapwing_collector.gate.compared import Paired, paired_metrics
from lapwing_collector.gate.contents import Answer, Answers, Question, questions, sections, step_for
from lapwing_collector.gate.documents import evaluation_of, picture_of
from lapwing_collector.gate.junit import junit_of
from lapwing_collector.gate.pages import evaluation_page, report_page, style_sheet
from lapwing_collector.gate.texts import markdown_of, report_text, text_of
from lapwing_collector.gate.values import (
    UNJUDGED,
    Advice,
    Cell,
    Chart,
    Check,
    Comparison,
    Evaluation,
    Line,
    Outcome,
    Report,
    Section,
    Side,
    Step,
    Table,
    Verdict,
    stops,
    verdict_of,
)

__all__ = [
    "ENOUGH",
    "UNJUDGED",
    "Advice",
    "Answer",
    "Answers",
    "Cell",
    "Chart",
    "Check",
    "Comparison",
    "Evaluation",
    "Line",
    "Outcome",
    "Paired",
    "Question",
    "Report",
    "Section",
    "Side",
    "Step",
    "Table",
    "Verdict",
    "advise",
    "evaluation_of",
    "evaluation_page",
    "junit_of",
    "markdown_of",
    "needed",
    "paired_metrics",
    "picture_of",
    "questions",
    "report_page",
    "report_text",
    "sections",
    "step_for",
    "stops",
    "style_sheet",
    "text_of",
    "verdict_of",
]
