"""The built wheel, and folders that hold what `pip install` would put there, and nothing else."""

import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path
from zipfile import ZipFile

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def build_wheel(folder: Path) -> Path:
    """Build this tree's wheel into a folder."""
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    return wheel


def requirements(found: Distribution, extra: str = "") -> list[Requirement]:
    """What a distribution requires on this machine: without extras, or with one."""
    stated = map(Requirement, found.requires or ())
    return [each for each in stated if each.marker is None or each.marker.evaluate({"extra": extra})]


def closure(wanted: Iterable[Requirement]) -> dict[str, Distribution]:
    """The distributions that requirements bring, and what these bring in turn, by canonical name."""
    found: dict[str, Distribution] = {}
    visited = set()
    waiting = list(wanted)
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        found[name] = distribution(name)
        for extra in ("", *requirement.extras):
            if (name, extra) not in visited:
                visited.add((name, extra))
                waiting += requirements(found[name], extra)
    return found


def install(folder: Path, wheel: Path, distributions: Iterable[Distribution]) -> Path:
    """Unpack a wheel into a folder, and link the files of installed distributions beside it."""
    ZipFile(wheel).extractall(folder)
    for found in distributions:
        for file in found.files or ():
            if ".." not in file.parts and file.suffix != ".pyc":
                link = folder / file
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(Path(str(found.locate_file(file))).resolve())
    return folder


def run_in(
    folder: Path, script: str, *arguments: str, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run a script that can import the standard library and what is in a folder."""
    importing = f"import sys; sys.path.append({str(folder)!r})\n{script}"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-W", "error", "-c", importing, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
