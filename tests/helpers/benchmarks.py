"""Benchmarks as modules, for tests of what pages say of them."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

from helpers.contract_docs import ROOT


def load(name: str) -> ModuleType:
    """A benchmark, by a name that no other module has."""
    spec = spec_from_file_location(f"lapwing_bench_{name}", ROOT / "bench" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for themselves
    spec.loader.exec_module(module)
    return module
