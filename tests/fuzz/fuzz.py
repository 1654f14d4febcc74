"""Fuzz one target with atheris: `python tests/fuzz/fuzz.py TARGET CORPUS [OPTIONS]`; see `make fuzz`."""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["lapwing_collector.decode", "lapwing_collector.wal.record"]):
    import lapwing_collector.decode
    import lapwing_collector.wal.record  # noqa: F401

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers.fuzz_targets import TARGETS, seeds


def main() -> None:
    """Write the seeds into the corpus and fuzz."""
    name, corpus = sys.argv[1:3]
    folder = Path(corpus)
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()[name]):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], corpus, *sys.argv[3:]], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
