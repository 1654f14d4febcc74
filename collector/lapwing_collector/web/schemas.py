"""What is in the documents that the API answers, as JSON Schema has it. Within v1 they only grow."""

from collections.abc import Mapping
from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string"}
NUMBER: Final[Schema] = {"type": "number"}
WHOLE: Final[Schema] = {"type": "integer"}
YES_OR_NO: Final[Schema] = {"type": "boolean"}
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
ANYTHING: Final[Schema] = {}


def told(schema: Schema, description: str) -> Schema:
    """The same, with a word on it."""
    return {**schema, "description": description}


def or_null(schema: Schema) -> Schema:
    """The same, or null where there is none."""
    return {**schema, "type": [schema["type"], "null"]}


def list_of(items: Schema) -> Schema:
    """A list."""
    return {"type": "array", "items": items}


def by_name(values: Schema) -> Schema:
    """Values under names that are anybody's."""
    return {"type": "object", "additionalProperties": values}


def document(fields: Mapping[str, Schema], sometimes: Mapping[str, Schema] | None = None) -> Schema:
    """An object with fields, and those that are left out where nothing is known."""
    return {"type": "object", "required": list(fields), "properties": {**fields, **(sometimes or {})}}


# Alerts

_ACK: Final[Mapping[str, Schema]] = {"acknowledged_by": or_null(TEXT), "comment": TEXT, "at": TIME}
_ALERT: Final[Mapping[str, Schema]] = {
    "fingerprint": TEXT,
    "rule": told(TEXT, "as group/name"),
    "labels": by_name(TEXT),
    "annotations": by_name(TEXT),
    "state": {"enum": ["inactive", "pending", "firing", "recovering"]},
    "health": TEXT,
    "value": or_null(NUMBER),
    "peak": told(or_null(NUMBER), "the value at its worst"),
    "active_at": or_null(TIME),
    "fired_at": or_null(TIME),
    "resolved_at": or_null(TIME),
    "silences": told(list_of(TEXT), "keys of those that hold for it"),
    "told": told(list_of(TEXT), "the targets that accepted a message that it fires"),
    "untold": told(by_name(TEXT), "the others that are to hear it, each with how far its newest message is"),
}
_JUDGED: Final[Mapping[str, Schema]] = {
    "condition": or_null(TEXT),
    "sample_count": or_null(WHOLE),
    "window_start": TIME,
    "window_end": TIME,
    "recent": told(list_of(or_null(NUMBER)), "values of the last windows, its own the last"),
    "segments": told(
        list_of(document({"segment": TEXT, "value": NUMBER, "sample_count": WHOLE})),
        "where it is worse than in all rows",
    ),
    "examples": told(list_of(TEXT), "ids of predictions"),
    "rows_url": told(or_null(TEXT), "the page with its rows"),
    "sample": told(list_of(by_name(ANYTHING)), "rows that its rule asked for"),
}
"""Of those that a message may have told."""

LISTED_ALERT: Final = document({**_ALERT, "acknowledged_by": or_null(TEXT)}, _JUDGED)
ALERT: Final = document(
    {
        **_ALERT,
        "acknowledged": or_null(document(_ACK)),
        "groups": list_of(
            document(
                {
                    "receiver": TEXT,
                    "route": TEXT,
                    "labels": by_name(TEXT),
                    "alerts": told(WHOLE, "how many are in it"),
                    "not_told_because": or_null(TEXT),
                    "looked_at": told(or_null(TIME), "when it is looked at next"),
                    "targets": list_of(
                        document({"name": TEXT, "believes_it_fires": YES_OR_NO, "told_at": TIME})
                    ),
                }
            )
        ),
        "verdict": told(TEXT, "in a sentence, how it stands"),
        "messages": list_of(
            document(
                {
                    "key": TEXT,
                    "at": TIME,
                    "target": TEXT,
                    "status": TEXT,
                    "title": TEXT,
                    "delivery": TEXT,
                    "attempts": WHOLE,
                    "sent_at": or_null(TIME),
                    "reason": or_null(TEXT),
                }
            )
        ),
        "transitions": list_of(
            document({"slot": TIME, "status": TEXT, "reason": TEXT, "value": or_null(NUMBER)})
        ),
    },
    _JUDGED,
)
EPISODE: Final = document(
    {
        "fingerprint": TEXT,
        "rule": TEXT,
        "labels": by_name(TEXT),
        "fired_at": or_null(TIME),
        "resolved_at": or_null(TIME),
        "reason": told(or_null(TEXT), "why it is over"),
        "peak": or_null(NUMBER),
    }
)
ACK: Final = document({"fingerprint": TEXT, "acknowledged_by": or_null(TEXT)}, {"comment": TEXT, "at": TIME})
_SILENCE: Final[Mapping[str, Schema]] = {
    "key": TEXT,
    "matchers": TEXT,
    "starts_at": TIME,
    "ends_at": or_null(TIME),
    "until_resolved": YES_OR_NO,
    "active": YES_OR_NO,
    "author": TEXT,
    "comment": TEXT,
}
SILENCE: Final = document(_SILENCE)
NEW_SILENCE: Final = document({**_SILENCE, "alerts": told(WHOLE, "how many alerts there are that it means")})
ENDED_SILENCE: Final = document({"ended": told(TEXT, "its key")})
ROUTE: Final = document(
    {
        "route": TEXT,
        "receiver": TEXT,
        "group": by_name(TEXT),
        "group_wait_s": NUMBER,
        "group_interval_s": NUMBER,
        "repeat_interval_s": NUMBER,
        "muted": told(or_null(TEXT), "the hours in which nobody is told now"),
        "kept_back": told(or_null(TEXT), "why nobody would be told"),
        "targets": list_of(document({"name": TEXT, "after_s": NUMBER})),
    }
)
DEAD: Final = document(
    {
        "key": TEXT,
        "target": TEXT,
        "status": TEXT,
        "title": TEXT,
        "body": TEXT,
        "group": TEXT,
        "created_at": TIME,
        "attempts": WHOLE,
        "error": or_null(TEXT),
    }
)
REQUEUED: Final = document({"queued": list_of(DEAD), "outdated": list_of(DEAD)})

# Rules

_RULE: Final[Mapping[str, Schema]] = {
    "rule": told(TEXT, "as group/name"),
    "group": TEXT,
    "name": TEXT,
    "model": or_null(TEXT),
    "kind": {"enum": ["alert", "record"]},
    "enabled": YES_OR_NO,
    "condition": or_null(TEXT),
    "for_s": NUMBER,
    "window_s": or_null(NUMBER),
    "labels": by_name(TEXT),
    "health": or_null(TEXT),
    "error": or_null(TEXT),
    "slot": told(or_null(TIME), "the last one that was judged"),
    "next": or_null(TIME),
    "value": told(or_null(NUMBER), "the worst of its alerts"),
    "alerts": told(by_name(WHOLE), "how many there are, by state"),
}
LISTED_RULE: Final = document(_RULE)
RULE: Final = document(
    {
        **_RULE,
        "sql": TEXT,
        "explained": told(TEXT, "the SQL that it is judged by, and what is behind the metrics in it"),
        "file": or_null(document({"name": TEXT, "line": WHOLE, "text": TEXT})),
    }
)
THRESHOLD: Final = document(
    {
        "rule": TEXT,
        "name": TEXT,
        "bounds": list_of(document({"column": TEXT, "sign": TEXT, "number": NUMBER})),
        "window_s": or_null(NUMBER),
        "metric": or_null(TEXT),
        "fields": told(list_of(TEXT), "the fields that the metric goes over, or patterns of them"),
        "only": told(by_name(list_of(TEXT)), "values of columns by which its rows are narrowed"),
        "recorded_as": told(list_of(TEXT), "rules that record the same"),
    }
)
_CHANGED: Final[Mapping[str, Schema]] = {
    "added": list_of(TEXT),
    "changed": list_of(TEXT),
    "removed": list_of(TEXT),
}
RELOADED: Final = document(
    {
        "rules": told(WHOLE, "how many there are now"),
        "builtin": told(WHOLE, "how many of them come with Lapwing"),
        **_CHANGED,
        "targets": document(_CHANGED),
    }
)

# Models and metrics

LISTED_MODEL: Final = document(
    {
        "model": TEXT,
        "table_name": TEXT,
        "task": or_null(TEXT),
        "versions": WHOLE,
        "newest_version": or_null(TEXT),
        "first_seen": or_null(TIME),
    }
)
MODEL: Final = document(
    {
        "model": TEXT,
        "table_name": TEXT,
        "versions": list_of(TEXT),
        "first_seen": or_null(TIME),
        "described_at": or_null(TIME),
        "segments_not_counted": told(list_of(TEXT), "segments by which no counts are kept yet"),
        "fields": list_of(
            document(
                {
                    "field": TEXT,
                    "type": or_null(TEXT),
                    "feature": or_null(TEXT),
                    "feature_source": or_null(TEXT),
                    "importance": or_null(NUMBER),
                    "importance_source": or_null(TEXT),
                    "rows_in_extra": WHOLE,
                }
            )
        ),
    },
    {
        "task": TEXT,
        "prediction": told(TEXT, "the field with the predicted class or number"),
        "score": TEXT,
        "scores": TEXT,
        "items": TEXT,
        "label": TEXT,
        "positive_class": TEXT,
        "classes": list_of(TEXT),
        "threshold": NUMBER,
        "label_delay": told(NUMBER, "in seconds"),
        "features": by_name(
            document({"type": or_null(TEXT), "importance": or_null(NUMBER)}, {"keep": YES_OR_NO})
        ),
        "segments": list_of(TEXT),
        "types": by_name(TEXT),
        "references": by_name(by_name(ANYTHING)),
        "sources": told(by_name(TEXT), "where each value comes from"),
    },
)
_METRIC: Final[Mapping[str, Schema]] = {"name": TEXT, "group": TEXT, "summary": TEXT, "call": TEXT}
LISTED_METRIC: Final = document(_METRIC)
METRIC: Final = document(
    {
        **_METRIC,
        "formula": TEXT,
        "source": TEXT,
        "needs": list_of(TEXT),
        "parameters": list_of(document({"name": TEXT, "default": or_null(TEXT), "meaning": or_null(TEXT)})),
        "example": TEXT,
        "sql": TEXT,
    }
)

# The gate

_SIDE: Final = document(
    {
        "name": TEXT,
        "source": TEXT,
        "rows": or_null(WHOLE),
        "labels": or_null(WHOLE),
        "versions": list_of(TEXT),
        "since": or_null(TIME),
        "until": or_null(TIME),
    }
)
_NUMBERS: Final = list_of(or_null(NUMBER))
_SECTION: Final = document(
    {
        "title": TEXT,
        "text": TEXT,
        "table": or_null(document({"columns": list_of(TEXT), "rows": list_of(list_of(ANYTHING))})),
        "charts": list_of(
            document(
                {
                    "title": TEXT,
                    "kind": {"enum": ["lines", "times", "bars"]},
                    "lines": list_of(
                        document(
                            {
                                "name": TEXT,
                                "x": list_of(ANYTHING),
                                "y": _NUMBERS,
                                "low": _NUMBERS,
                                "high": _NUMBERS,
                            }
                        )
                    ),
                    "x": TEXT,
                    "y": TEXT,
                    "diagonal": YES_OR_NO,
                }
            )
        ),
        "sql": list_of(TEXT),
        "problem": TEXT,
    }
)
LISTED_EVALUATION: Final = document(
    {
        "evaluation_id": TEXT,
        "model": TEXT,
        "version": or_null(TEXT),
        "passed": YES_OR_NO,
        "started_at": TIME,
        "seconds": or_null(NUMBER),
        "evaluated_by": or_null(TEXT),
        "rules": list_of(TEXT),
        "data": or_null(TEXT),
        "reference": or_null(TEXT),
        "against": or_null(TEXT),
        "window_start": or_null(TIME),
        "window_end": or_null(TIME),
        "sample_count": or_null(WHOLE),
        "label_count": or_null(WHOLE),
    }
)
EVALUATION: Final = document(
    {
        "id": TEXT,
        "model": TEXT,
        "version": or_null(TEXT),
        "verdict": {"enum": ["passed", "failed"]},
        "started_at": TIME,
        "seconds": NUMBER,
        "by": TEXT,
        "rules": list_of(TEXT),
        "allow_insufficient": YES_OR_NO,
        "sides": list_of(_SIDE),
        "checks": list_of(
            document(
                {
                    "rule": TEXT,
                    "kind": {"enum": ["alert", "record"]},
                    "criticality": {"enum": ["fail", "warn"]},
                    "outcome": TEXT,
                    "labels": by_name(TEXT),
                    "conditions": list_of(TEXT),
                    "value": or_null(NUMBER),
                    "low": or_null(NUMBER),
                    "high": or_null(NUMBER),
                    "sample_count": or_null(WHOLE),
                    "label_coverage": or_null(NUMBER),
                    "sides": by_name(or_null(NUMBER)),
                    "text": TEXT,
                }
            )
        ),
        "comparisons": list_of(
            document(
                {
                    "metric": TEXT,
                    "what": TEXT,
                    "better": {"enum": ["more", "less"]},
                    "champion": or_null(NUMBER),
                    "challenger": or_null(NUMBER),
                    "difference": or_null(NUMBER),
                    "low": or_null(NUMBER),
                    "high": or_null(NUMBER),
                    "p_value": or_null(NUMBER),
                    "sample_count": or_null(WHOLE),
                    "problem": TEXT,
                }
            )
        ),
        "sections": list_of(_SECTION),
        "notes": list_of(TEXT),
        "lapwing": TEXT,
    }
)
ADVICE: Final = document(
    {
        "model": TEXT,
        "made_at": TIME,
        "sides": list_of(_SIDE),
        "sections": list_of(_SECTION),
        "advice": or_null(
            document(
                {
                    "state": {
                        "enum": ["fine", "fix_data", "collect_labels", "retrain", "investigate", "watch"]
                    },
                    "text": TEXT,
                    "steps": list_of(
                        document(
                            {"question": TEXT, "answer": {"enum": ["yes", "no", "unknown"]}, "because": TEXT}
                        )
                    ),
                }
            )
        ),
        "notes": list_of(TEXT),
        "lapwing": TEXT,
    }
)

# The collector itself

FAMILY: Final = document(
    {
        "name": TEXT,
        "help": TEXT,
        "samples": list_of(document({"name": TEXT, "labels": by_name(TEXT), "value": or_null(NUMBER)})),
    }
)
REPLICAS: Final = document(
    {
        "term": told(WHOLE, "grows with each that begins to lead"),
        "leader": or_null(TEXT),
        "since": or_null(TIME),
        "replicas": list_of(
            document(
                {
                    "name": TEXT,
                    "kind": TEXT,
                    "address": TEXT,
                    "version": TEXT,
                    "since": TIME,
                    "seen_at": TIME,
                    "gone": YES_OR_NO,
                    "leads": YES_OR_NO,
                    "maintains": YES_OR_NO,
                }
            )
        ),
    }
)
