"""The description of the API for programs. Within v1 it only grows."""

from collections.abc import Sequence
from typing import Any, Final

from lapwing_collector.model.queries import Format
from lapwing_collector.web import schemas
from lapwing_collector.web.schemas import list_of

_ROWS: Final = {
    "application/json": {
        "schema": {"type": "array", "items": {"type": "object", "additionalProperties": True}}
    },
    "text/csv": {"schema": {"type": "string"}},
    "application/vnd.lapwing.columns+json": {
        "schema": {"type": "object", "description": "names, types and columns, a list of values for each"}
    },
    "application/vnd.apache.arrow.stream": {"schema": {"type": "string", "format": "binary"}},
    "application/vnd.apache.parquet": {"schema": {"type": "string", "format": "binary"}},
}
_PROBLEM: Final = {
    "description": "What is wrong, and what to do",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
_QUERY_ANSWERS: Final = {
    "200": {
        "description": "The rows",
        "headers": {
            "Lapwing-Rows": {"description": "Rows in this answer", "schema": {"type": "integer"}},
            "Lapwing-Truncated": {
                "description": "Whether there were more than the limits let through",
                "schema": {"type": "boolean"},
            },
            "Lapwing-Incomplete": {
                "description": "Whether a damaged file was set aside, so that rows may be missing",
                "schema": {"type": "boolean"},
            },
        },
        "content": _ROWS,
    },
    "400": _PROBLEM,
    "401": _PROBLEM,
    "403": _PROBLEM,
    "413": _PROBLEM,
    "415": _PROBLEM,
    "422": _PROBLEM,
    "500": _PROBLEM,
    "503": _PROBLEM,
}
_ASK: Final[dict[str, Any]] = {
    "sql": {"type": "string", "minLength": 1, "description": "One SELECT; parameters are written $name"},
    "parameters": {
        "type": "object",
        "description": 'Values by name; a time is {"timestamp": "2026-01-31T12:00:00"}, in UTC',
        "additionalProperties": True,
    },
    "format": {
        "type": "string",
        "enum": [str(fmt) for fmt in Format],
        "description": "How to write the rows; else what Accept names, else json",
    },
    "limit": {"type": "integer", "minimum": 1, "description": "Rows beyond which the answer is cut"},
    "overflow": {
        "type": "string",
        "enum": ["truncate", "error"],
        "default": "truncate",
        "description": "What becomes of an answer that is too large",
    },
    "explain": {
        "type": "boolean",
        "default": False,
        "description": "Tell the SQL behind the metrics that are called (part, name, sql), run nothing",
    },
}


_OF_PANEL: Final = {
    "model": "The model's name, where the panel is about one",
    "version": "Only this version of it",
    "last": "How far the range of time reaches back from now: 6h, 7d",
    "from": "Its begin instead, as 2026-01-31T12:00:00Z",
    "to": "Its end",
    "format": "As for /api/v1/sql; `sql` gives the SQL itself",
}


def _in_address(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    asked: dict[str, Any] = {"name": name, "in": "query", "required": name == "sql"}
    if schema["type"] == "object":
        return asked | {"content": {"application/json": {"schema": schema}}}
    return asked | {"schema": schema}


def _read(
    operation: str,
    summary: str,
    what: str,
    schema: schemas.Schema,
    *parameters: dict[str, Any],
    problems: Sequence[str] = (),
) -> dict[str, Any]:
    """A document that is read from an address; `problems` are those that not all of them have."""
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            **({"parameters": [*parameters]} if parameters else {}),
            "responses": {
                "200": {"description": what, "content": {"application/json": {"schema": schema}}},
                **dict.fromkeys(("401", "403", "422", "503", *problems), _PROBLEM),
            },
        }
    }


def _post(
    operation: str,
    summary: str,
    asked: schemas.Schema,
    answer: schemas.Schema,
    problems: Sequence[str],
    *,
    what: str = "The outcome",
    needed: bool = True,
) -> dict[str, Any]:
    """What is asked for or ordered: a document in, which is `needed` or not, and one out."""
    return {
        "post": {
            "operationId": operation,
            "summary": summary,
            "requestBody": {"required": needed, "content": {"application/json": {"schema": asked}}},
            "responses": {
                "200": {"description": what, "content": {"application/json": {"schema": answer}}},
                **dict.fromkeys(problems, _PROBLEM),
            },
        }
    }


def _work(operation: str, summary: str, asked: dict[str, Any], answer: schemas.Schema) -> dict[str, Any]:
    """A tool for rules: an object in, an object or a list out."""
    problems = ("400", "401", "403", "409", "413", "415", "422", "500", "503")
    return _post(operation, summary, _only(asked), answer, problems)


def _duty(
    operation: str, summary: str, asked: dict[str, Any], needed: Sequence[str], answer: schemas.Schema
) -> dict[str, Any]:
    """What the owner of the lake is told to do: an object in, an object out."""
    body = _only(asked, needed)
    problems = ("400", "401", "403", "404", "409", "413", "415", "503")
    return _post(operation, summary, body, answer, problems, needed=bool(needed))


def _only(fields: dict[str, Any], needed: Sequence[str] = ()) -> schemas.Schema:
    """An object with some of these fields and no other."""
    return {
        "type": "object",
        **({"required": [*needed]} if needed else {}),
        "properties": fields,
        "additionalProperties": False,
    }


def _in_path(name: str) -> dict[str, Any]:
    """A text that is part of an address."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _moment_in_query(name: str) -> dict[str, Any]:
    """A time that the address has to tell."""
    return {
        "name": name,
        "in": "query",
        "required": True,
        "schema": {"type": "string", "format": "date-time"},
    }


_TEXT: Final = {"type": "string"}
_FILES: Final = {
    "type": "object",
    "description": "Texts by the names of files; they can refer to nothing but each other",
    "additionalProperties": _TEXT,
}
_WORKS: Final = {
    "/api/v1/rules/check": _work(
        "checkRules",
        "Everything that is wrong or odd in the rule files of the project, or in files that are sent",
        {"files": _FILES},
        {
            "type": "object",
            "required": ["files", "rules", "findings", "lake"],
            "properties": {
                "files": {"type": "integer"},
                "rules": {"type": "integer"},
                "lake": {"type": "boolean", "description": "Whether names were looked up in a lake"},
                "findings": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["file", "line", "kind", "text"],
                        "properties": {
                            "file": _TEXT,
                            "line": {"type": ["integer", "null"]},
                            "kind": {"enum": ["mistake", "hint"]},
                            "text": _TEXT,
                        },
                    },
                },
            },
        },
    ),
    "/api/v1/rules/test": _work(
        "testRules",
        "Run tests of rules: what they say to tables that the tests bring",
        {
            "files": _FILES,
            "tests": {
                "type": "array",
                "items": _TEXT,
                "description": "Which of them are test files; all that end in _test.yaml by default",
            },
            "run": {"type": "string", "description": "Only tests whose name has a match for this expression"},
        },
        {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["file", "name", "failures", "seconds"],
                "properties": {
                    "file": _TEXT,
                    "name": _TEXT,
                    "failures": {"type": "array", "items": _TEXT},
                    "seconds": {"type": "number"},
                },
            },
        },
    ),
    "/api/v1/rules/backtest": _work(
        "backtestRules",
        "What rules would have told, also with another threshold or `for`; who leaves calls it off",
        {
            "rule": {"type": "string", "description": "A rule, as group/name or its name alone"},
            "rules": {"type": "array", "items": _TEXT, "description": "Several of them; all without either"},
            "from": {"type": "string", "description": "A time in UTC, or how long before `to`: 30d"},
            "to": {"type": "string", "description": "A time in UTC; now by default"},
            "threshold": {"type": "number", "description": "Another number in a condition of value alone"},
            "condition": {"type": "string", "description": "Another condition"},
            "for": {"type": "string", "description": "Another `for`, as 15m"},
            "slots": {
                "type": "boolean",
                "default": False,
                "description": "Tell value and state at every slot, in `course`, of up to 20 alerts",
            },
            "timeout": {"type": "string", "description": "Give up after this time, at most 5m"},
        },
        {
            "type": "object",
            "required": ["snapshot", "rules"],
            "properties": {
                "snapshot": {"type": "integer"},
                "rules": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["rule", "slots", "failed", "summary", "course"],
                        "properties": {
                            "rule": _TEXT,
                            "condition": {"type": ["string", "null"]},
                            "for_s": {"type": "number"},
                            "slots": {"type": "integer"},
                            "failed": {"type": "integer"},
                            "error": {"type": ["string", "null"]},
                            "summary": {
                                "type": "object",
                                "description": "fired, firing_s, share, flaps, episodes, values, variants, "
                                "suggested_for_s, suggested_condition",
                            },
                            "course": {
                                "type": ["object", "null"],
                                "description": "slots, and series with labels, values and states",
                            },
                        },
                    },
                },
            },
        },
    ),
}

DOCUMENT: Final[dict[str, Any]] = {
    "openapi": "3.1.0",
    "info": {"title": "Lapwing", "version": "1"},
    "security": [{}, {"token": []}],
    "paths": {
        "/api/v1/sql": {
            "get": {
                "operationId": "askByAddress",
                "summary": "Query the lake",
                "parameters": [_in_address(name, schema) for name, schema in _ASK.items()],
                "responses": _QUERY_ANSWERS,
            },
            "post": {
                "operationId": "ask",
                "summary": "Query the lake",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": _only(_ASK, ["sql"])},
                        "text/plain": {"schema": {"type": "string"}},
                    },
                },
                "responses": _QUERY_ANSWERS,
            },
        },
        "/api/v1/panels/{panel}": {
            "get": {
                "operationId": "readPanel",
                "summary": "The rows behind a chart or table of the dashboard; pages link to these addresses",
                "parameters": [
                    _in_path("panel"),
                    *(
                        {"name": name, "in": "query", "description": told, "schema": {"type": "string"}}
                        for name, told in _OF_PANEL.items()
                    ),
                ],
                "responses": _QUERY_ANSWERS | {"404": _PROBLEM},
            }
        },
        "/api/v1/events": {
            "get": {
                "operationId": "listen",
                "summary": "What is new, as it comes: lists of `alerts` and `model:<table>`",
                "parameters": [
                    {
                        "name": "since",
                        "in": "query",
                        "description": "the id of an event: what came after it is told first",
                        "schema": {"type": "string"},
                    }
                ],
                "responses": {
                    "200": {
                        "description": "Server-sent events",
                        "content": {"text/event-stream": {"schema": {"type": "string"}}},
                    },
                    "401": _PROBLEM,
                    "403": _PROBLEM,
                },
            }
        },
        "/api/v1/models": _read(
            "listModels",
            "The models, with their tables, tasks and versions",
            "The models",
            list_of(schemas.LISTED_MODEL),
        ),
        "/api/v1/models/{model}": _read(
            "describeModel",
            "What is known of a model, where each value comes from, and its fields",
            "The model",
            schemas.MODEL,
            _in_path("model"),
            problems=("404",),
        ),
        "/api/v1/metrics": _read(
            "listMetrics",
            "The metrics that queries can call as table functions",
            "The metrics",
            list_of(schemas.LISTED_METRIC),
        ),
        "/api/v1/metrics/{metric}": _read(
            "describeMetric",
            "What a metric is, what it takes, and the SQL behind it",
            "The metric",
            schemas.METRIC,
            _in_path("metric"),
            problems=("404",),
        ),
        "/api/v1/advice/{model}": _read(
            "adviseOnModel",
            "Whether to retrain a model, by its last seven days, and how that follows",
            "The advice, and what it is of",
            schemas.ADVICE,
            _in_path("model"),
            problems=("404",),
        ),
        "/api/v1/evaluations": _read(
            "listEvaluations",
            "The runs of the gate that are kept, the newest first",
            "The runs",
            list_of(schemas.LISTED_EVALUATION),
        ),
        "/api/v1/evaluations/{evaluation}": _read(
            "describeEvaluation",
            "A run of the gate, as `lapwing evaluate --json` writes it",
            "The run",
            schemas.EVALUATION,
            _in_path("evaluation"),
            problems=("404",),
        ),
        "/api/v1/alerts": _read(
            "listAlerts",
            "The alerts that are pending or fire, and who was told",
            "The alerts",
            list_of(schemas.LISTED_ALERT),
        ),
        "/api/v1/alerts/{fingerprint}": _read(
            "explainAlert",
            "What became of an alert on its way to people, and why",
            "The alert",
            schemas.ALERT,
            _in_path("fingerprint"),
            problems=("400",),
        ),
        "/api/v1/episodes": _read(
            "listEpisodes",
            "When alerts fired between two times: those that fire still, then the last to end",
            "The episodes",
            list_of(schemas.EPISODE),
            _moment_in_query("from"),
            _moment_in_query("to"),
            {
                "name": "rule",
                "in": "query",
                "schema": {"type": "string", "description": "Those of this rule only, as `group/name`"},
            },
            {
                "name": "most",
                "in": "query",
                "schema": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 10_000,
                    "default": 1000,
                    "description": "Of those that are over, how many at most",
                },
            },
            problems=("400",),
        ),
        "/api/v1/rules": _read(
            "listRules",
            "The rules that are judged now, and how each stands",
            "The rules",
            list_of(schemas.LISTED_RULE),
        ),
        "/api/v1/rules/{rule}": _read(
            "explainRule",
            "A rule, the SQL that it is judged by, and what is behind its metrics",
            "The rule",
            schemas.RULE,
            _in_path("rule"),
            problems=("404",),
        ),
        "/api/v1/thresholds/{table}": _read(
            "listThresholds",
            "The numbers that rules on a model, by its tables' name, compare a metric with",
            "The thresholds",
            list_of(schemas.THRESHOLD),
            _in_path("table"),
        ),
        **_WORKS,
        "/api/v1/telemetry": _read(
            "readTelemetry",
            "What the collector tells of itself, as /metrics does for Prometheus",
            "The metrics",
            list_of(schemas.FAMILY),
        ),
        "/api/v1/replicas": _read(
            "listReplicas",
            "Who shares the alert state, and which of them leads",
            "The replicas",
            schemas.REPLICAS,
        ),
        "/api/v1/silences": _read(
            "listSilences",
            "The silences that hold or will",
            "The silences",
            list_of(schemas.SILENCE),
        ),
        "/api/v1/routes": _read(
            "testRoutes",
            "Where an alert without labels arrives",
            "The routes",
            list_of(schemas.ROUTE),
        ),
        "/api/v1/routes/{labels}": _read(
            "testRoutesFor",
            "Where an alert with labels such as severity=page,model=churn arrives",
            "The routes",
            list_of(schemas.ROUTE),
            _in_path("labels"),
            problems=("400",),
        ),
        "/api/v1/dead": _read(
            "listDead",
            "Messages that their targets did not accept and that were given up, newest first",
            "The messages",
            list_of(schemas.DEAD),
        ),
        "/api/v1/dead/{target}": _read(
            "listDeadOfTarget",
            "Those of one target",
            "The messages",
            list_of(schemas.DEAD),
            _in_path("target"),
        ),
        "/api/v1/admin/requeue": _post(
            "requeue",
            "Send messages again that were given up",
            {
                "oneOf": [
                    _only({"keys": list_of(_TEXT)}, ["keys"]),
                    _only({"target": _TEXT}, ["target"]),
                    _only({"all": {"const": True}}, ["all"]),
                ]
            },
            schemas.REQUEUED,
            ("400", "401", "403", "413", "415", "503"),
            what="What is queued again, and what stays because its target was told something newer",
        ),
        "/api/v1/admin/silence": _duty(
            "silence",
            "Keep alerts from being told for a while",
            {
                "matchers": {"type": "string", "description": 'Which ones, as model="churn"'},
                "alert": {"type": "string", "description": "Which one instead, by its fingerprint"},
                "for": {"type": "string", "description": "How long, as 2h"},
                "ends_at": {"type": "string", "description": "Until when instead"},
                "until_resolved": {"type": "boolean", "description": "Until they resolve instead"},
                "starts_at": {"type": "string", "description": "From when on; now by default"},
                "author": _TEXT,
                "comment": _TEXT,
            },
            (),
            schemas.NEW_SILENCE,
        ),
        "/api/v1/admin/end-silence": _duty(
            "endSilence", "End a silence now", {"key": _TEXT}, ("key",), schemas.ENDED_SILENCE
        ),
        "/api/v1/admin/ack": _duty(
            "acknowledge",
            "Take an alert on: until it resolves it is neither repeated nor escalated",
            {
                "alert": {"type": "string", "description": "Its fingerprint, or how that begins"},
                "withdraw": {"type": "boolean", "description": "Do so no more"},
                "author": _TEXT,
                "comment": _TEXT,
            },
            ("alert",),
            schemas.ACK,
        ),
        "/api/v1/admin/reload": _duty(
            "reload", "Read rule files and notify.yaml again", {}, (), schemas.RELOADED
        ),
        "/api/v1/admin/{duty}": {
            "post": {
                "operationId": "callDuty",
                "summary": "Have the owner of the lake do something",
                "parameters": [_in_path("duty")],
                "requestBody": {"content": {"application/json": {"schema": {"type": "object"}}}},
                "responses": {
                    "200": {"description": "The outcome", "content": {"application/json": {"schema": {}}}},
                    **dict.fromkeys(("400", "401", "403", "404", "409", "413", "415", "503"), _PROBLEM),
                },
            }
        },
        "/metrics": {
            "get": {
                "operationId": "metrics",
                "summary": "Metrics for Prometheus",
                "responses": {
                    "200": {"description": "Text", "content": {"text/plain": {"schema": {"type": "string"}}}},
                    "401": _PROBLEM,
                    "403": _PROBLEM,
                },
            }
        },
        "/healthz": {
            "get": {
                "operationId": "healthz",
                "summary": "Whether the process runs",
                "security": [],
                "responses": {"200": {"description": "It runs"}},
            }
        },
        "/readyz": {
            "get": {
                "operationId": "readyz",
                "summary": "Whether records are accepted and acknowledged",
                "security": [],
                "responses": {"200": {"description": "They are"}, "503": {"description": "They are not"}},
            }
        },
        "/openapi.json": {
            "get": {
                "operationId": "openapi",
                "summary": "This document",
                "security": [],
                "responses": {"200": {"description": "OpenAPI 3.1"}},
            }
        },
    },
    "components": {
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        "schemas": {
            "Problem": {
                "type": "object",
                "required": ["type", "title", "status", "detail"],
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                    "position": {
                        "type": "integer",
                        "description": "The character of the SQL where the mistake is, from 0",
                    },
                    "candidates": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Names that may have been meant",
                    },
                },
            }
        },
    },
}
