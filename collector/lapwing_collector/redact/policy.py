"""The redaction file: what is taken out of requests, with the rules of `lapwing.redact` written as YAML."""

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from lapwing import redact
from lapwing.redact import Rule
from lapwing_collector.config import read_document

MODEL_FIELDS: Final = (*(field for field in redact.FIELDS if field != "resource"), "extra")
"""What paths of rules for single models begin with."""

FIELDS: Final = (
    *redact.FIELDS,
    *("extra", "body", "attributes", "severity_text", "event_name", "scope"),
    *("resource_schema_url", "scope_schema_url"),
)
"""What paths of rules for all begin with."""

PATTERNS: Final = {name: getattr(redact, name) for name in ("CREDIT_CARD", "EMAIL", "IBAN", "IPV4", "US_SSN")}
_ACTIONS: Final = ("drop", "mask", "hash", "truncate")
_OPTIONS: Final = {
    "drop": {"matching"},
    "mask": {"with", "matching"},
    "hash": {"salt", "matching"},
    "truncate": {"length"},
}


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Paths = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(_listed)]
Rules = Annotated[tuple["RuleEntry", ...], BeforeValidator(_listed)]
Constant = str | int | float | bool | None


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class RuleEntry(_Section):
    """A rule: one of `drop`, `mask`, `hash`, `truncate` with the paths that it is for, and its options."""

    drop: Paths | None = None
    mask: Paths | None = None
    hash: Paths | None = None
    truncate: Paths | None = None
    with_: Constant = Field("***", alias="with")
    salt: SecretStr | None = None
    length: int | None = None
    matching: str | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        said = [name for name in _ACTIONS if getattr(self, name) is not None]
        if len(said) != 1:
            raise ValueError(f"one of {', '.join(_ACTIONS)}, with the paths that it is for")
        options = {"with" if name == "with_" else name for name in self.model_fields_set} - {*_ACTIONS}
        for option in sorted(options - _OPTIONS[self.action]):
            raise ValueError(f"{option} means nothing to {self.action}")
        for option in sorted({"salt", "length"} & _OPTIONS[self.action] - options):
            raise ValueError(f"{self.action} needs {option}")
        self.rule(FIELDS)
        return self

    @property
    def action(self) -> str:
        """What is done."""
        return next(name for name in _ACTIONS if getattr(self, name) is not None)

    def rule(self, fields: tuple[str, ...]) -> Rule:
        """The rule; its paths begin with one of the `fields`.

        Raises:
            ValueError: Paths, expression or options are not allowed.
        """
        paths: tuple[str, ...] = getattr(self, self.action)
        matching = None if self.matching is None else PATTERNS.get(self.matching, self.matching)
        try:
            if self.drop is not None:
                made = redact.drop(matching=matching)
            elif self.mask is not None:
                made = redact.mask(with_=self.with_, matching=matching)
            elif self.hash is not None:
                made = redact.hash(salt=self.salt.get_secret_value() if self.salt else "", matching=matching)
            else:
                made = redact.truncate(length=self.length or 0)
        except TypeError as error:  # pydantic reports ValueErrors
            raise ValueError(str(error)) from error
        return replace(
            made, text=f"{self.action}: {', '.join(paths)}", paths=redact.check_paths(paths, fields)
        )

    def description(self) -> Mapping[str, Any]:
        """What the rule does, its salt replaced by what identifies it."""
        said = self.model_dump(exclude_none=True, by_alias=True)
        if self.salt is not None:
            key = self.salt.get_secret_value().encode()
            said["salt"] = hmac.digest(key, b"lapwing.redaction", "sha256")[:8].hex()
        return said


class ModelEntry(_Section):
    """What holds for the records of some models besides the rules for all."""

    allow: Paths | None = None
    rules: Rules = ()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        self.compiled()
        return self

    def compiled(self) -> tuple[Rule, ...]:
        """The rules, the list of what is allowed first."""
        rules = tuple(entry.rule(MODEL_FIELDS) for entry in self.rules)
        return rules if self.allow is None else (redact.allow(*self.allow), *rules)


class _File(_Section):
    rules: Rules = ()
    models: dict[str, ModelEntry] = {}


@dataclass(frozen=True)
class Policy:
    """What is taken out of requests.

    Attributes:
        rules: For all records, and for what stands around them.
        models: By a pattern of the names of models, in which `*` stands for any characters, rules for these.
        version: Changes with everything that changes what is taken out.
    """

    rules: tuple[Rule, ...]
    models: Mapping[str, tuple[Rule, ...]]
    version: str

    @cached_property
    def renames(self) -> bool:
        """Whether a rule may change keys."""
        every = [*self.rules, *(rule for rules in self.models.values() for rule in rules)]
        return any(rule.matching is not None for rule in every)

    def chosen(self, model: str) -> tuple[int, ...]:
        """Which of the patterns fit a model's name; capitals do not count."""
        return tuple(number for number, pattern in enumerate(self._patterns) if pattern.fullmatch(model))

    def rules_of(self, chosen: Iterable[int]) -> tuple[Rule, ...]:
        """The rules for all, and then those of the patterns chosen."""
        by_pattern = list(self.models.values())
        return (*self.rules, *(rule for number in chosen for rule in by_pattern[number]))

    @cached_property
    def _patterns(self) -> list[re.Pattern[str]]:
        return [
            re.compile(".*".join(map(re.escape, name.split("*"))), re.IGNORECASE | re.DOTALL)
            for name in self.models
        ]


def read_policy(path: Path) -> Policy | None:
    """Read a redaction file; None if it has no rule.

    Raises:
        ConfigError: One line for every mistake.
    """
    file = read_document(path, _File)
    models = {name: entry.compiled() for name, entry in file.models.items()}
    rules = tuple(entry.rule(FIELDS) for entry in file.rules)
    if not rules and not any(models.values()):
        return None
    said = {
        "rules": [entry.description() for entry in file.rules],
        "models": {
            name: [entry.allow, [rule.description() for rule in entry.rules]]
            for name, entry in file.models.items()
        },
    }
    text = json.dumps(said, sort_keys=True)
    return Policy(rules, models, hashlib.blake2b(text.encode(), digest_size=6).hexdigest())
