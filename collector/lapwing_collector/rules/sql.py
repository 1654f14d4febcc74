"""What can be read off a rule's SQL without a database: names, parameters, use of clock and chance."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Final

from lapwing_collector.engine import identifier, literal

PARAMETERS: Final = ("window_start", "window_end", "slot", "as_of")
"""Times a rule's SQL may mention as `$window_start`, …; bound as naive UTC datetimes."""

# Both change between two runs of the same slot, so replays and back-tests would disagree with live runs.
_UNREPEATABLE_CALLS: Final = frozenset(
    {
        "currval",
        "gen_random_uuid",
        "get_current_time",
        "get_current_timestamp",
        "nextval",
        "now",
        "random",
        "setseed",
        "today",
        "transaction_timestamp",
        "uuid",
        "uuidv4",
        "uuidv7",
    }
)
_UNREPEATABLE_WORDS: Final = frozenset(
    {"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp"}
)

_CALLED: Final = re.compile(r"(\w+)\s*\($")
MODEL_HOLE: Final = re.compile(r"\{\{\s*model\s*\}\}")
"""Stands for a model in the SQL of a group with `for_each_model`."""

_TOKEN: Final = re.compile(
    r"""
      --[^\n]* | /\*.*?\*/                       # comments
    | e'(?:\\.|''|[^'\\])*' | '(?:''|[^'])*'     # texts
    | \$(?P<tag>(?:[a-z_]\w*)?)\$.*?\$(?P=tag)\$ # dollar-quoted texts
    | \$(?P<parameter>\w+)
    | "(?P<quoted>(?:""|[^"])*)"
    | (?P<word>[a-z_]\w*)(?P<call>\s*\()?
    """,
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)


# What gives columns that the text does not name: stars, functions that make tables, tables without a SELECT.
_UNNAMED: Final = re.compile(
    r"(\bselect|\bdistinct|,)\s*([\w\"]+\.)*\*|\bcolumns\s*\(|(\bfrom|\bjoin)\s+[\w.\"]+\s*\(|(\A|\()\s*from\b",
    re.IGNORECASE,
)


@lru_cache(maxsize=4096)  # of rules, the same texts are asked for at every slot
def parameters_in(sql: str) -> frozenset[str]:
    """Name the parameters that `sql` mentions, without their `$`."""
    return frozenset(match["parameter"] for match in _tokens(sql) if match["parameter"])


def replace_parameters(sql: str, of: Mapping[str, str]) -> str:
    """Put what `of` says in the place of parameters, by their names without `$`."""
    return _TOKEN.sub(lambda token: of.get(token["parameter"] or "", token.group()), sql)


@lru_cache(maxsize=4096)
def names_in(sql: str) -> frozenset[str]:
    """Name, in lower case, every word and quoted identifier of `sql`: among them the columns it reads."""
    found = (match["word"] or (match["quoted"] or "").replace('""', '"') for match in _tokens(sql))
    return frozenset(name.lower() for name in found if name)


def columns_of(sql: str) -> frozenset[str] | None:
    """Name, in lower case, what can be columns of the result; None where its text does not name them all."""
    return None if _UNNAMED.search(sql) else names_in(sql)


def unrepeatable_in(sql: str) -> tuple[str, ...]:
    """Name what reads the clock or draws by chance in `sql`, as written, in order."""
    return tuple(
        match["word"] + "()" * bool(match["call"]) for match in _tokens(sql) if _is_unrepeatable(match)
    )


def fill_model(sql: str, model: str, table: str) -> str:
    """Put a model where `{{ model }}` stands: its table after a dot and as what a function is called for.

    Everywhere else it is the model's name, as a text.

    Args:
        sql: SQL with holes.
        model: The model's name.
        table: The name of its tables.

    Raises:
        ValueError: A hole stands between quotes.
    """
    for token in _tokens(sql):
        if MODEL_HOLE.search(token.group()) and token.group()[0] not in "-/":
            raise ValueError("write {{ model }} without quotes: what it stands for is quoted already")

    def filled(hole: re.Match[str]) -> str:
        before = sql[: hole.start()].rstrip()
        if before.endswith("."):
            return identifier(table)
        called = _CALLED.search(before)
        return literal(table if called and called[1].lower() != "in" else model)

    return MODEL_HOLE.sub(filled, sql)


def _is_unrepeatable(token: re.Match[str]) -> bool:
    word = (token["word"] or "").lower()
    return word in _UNREPEATABLE_WORDS or (bool(token["call"]) and word in _UNREPEATABLE_CALLS)


def _tokens(sql: str) -> Iterator[re.Match[str]]:
    return _TOKEN.finditer(sql)
