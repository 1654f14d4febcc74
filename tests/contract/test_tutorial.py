"""A reader who follows docs/tutorial.md word for word sees what it shows."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

import pytest

from helpers.contract_docs import ROOT
from helpers.ports import free_port
from helpers.waiting import wait_until

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
PORTS = ("4317", "4318", "4319", "8008")
"""Those of the page. A machine that runs tests may have them in use, so each reader gets others."""
RUN_ON = ("lapwing up", "python receiver.py")
"""What a terminal is kept for."""
LOOKING = ("lapwing sql", "lapwing alerts")
"""What changes nothing."""
BLOCK = re.compile(
    r"^(?:<!-- printed by: (?P<by>[^\n]+) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


def agree(shown: str, printed: str) -> bool:
    """Whether something was printed as the page shows it; … stands for anything."""
    pattern = re.escape(shown.strip()).replace("…", ".*?")
    return re.search(rf"^{pattern}$", printed, flags=re.MULTILINE | re.DOTALL) is not None


@dataclass
class Reader:
    """Somebody with an empty folder and some terminals.

    Attributes:
        folder: The folder.
        ports: Which ports stand for those of the page.
        running: What was started and runs on, by its command.
    """

    folder: Path
    ports: dict[str, str] = field(default_factory=lambda: {port: str(free_port()) for port in PORTS})
    running: "dict[str, subprocess.Popen[str]]" = field(default_factory=dict)

    def read(self, text: str) -> str:
        """The text of the page, for this reader's ports."""
        return re.sub("|".join(PORTS), lambda found: self.ports[found[0]], text)

    @property
    def environment(self) -> dict[str, str]:
        """Of each terminal: nothing that the tests were started with says anything to Lapwing."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("LAPWING_", "OTEL_"))}
        return kept | {
            "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}",
            "PIP_NO_INDEX": "1",
            "PIP_NO_DEPS": "1",  # whether each is there takes two seconds, and shows as the reader goes on
            "LAPWING_GRPC__LISTEN": f"127.0.0.1:{self.ports['4317']}",
            "LAPWING_HTTP__LISTEN": f"127.0.0.1:{self.ports['4318']}",
            "LAPWING_WEB__LISTEN": f"127.0.0.1:{self.ports['4319']}",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self.ports['4318']}",
        }

    def save(self, code: str) -> None:
        """Save a file that the page shows, under the name in its first line."""
        file = self.folder / code.partition("\n")[0].removeprefix("# ")
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{code}\n", encoding="utf-8")

    def types(self, commands: str, shown: str) -> None:
        """Type commands, and see what the page shows; what only looks is typed again for a while."""
        printed = ""

        def agreed() -> bool:
            nonlocal printed
            done = subprocess.run(
                ["bash", "-c", commands],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
            printed = done.stdout
            return done.returncode == 0 and agree(shown, printed)

        try:
            wait_until(agreed, 30 if commands.startswith(LOOKING) else 0)
        except AssertionError:
            pytest.fail(f"{commands}\nhas not printed\n{shown}\nbut\n{printed}")

    def start(self, command: str) -> None:
        """Start what runs on, in its own terminal; what runs there already is stopped by Ctrl-C."""
        self.stop(command)
        with self.output(command).open("w", encoding="utf-8") as output:
            self.running[command] = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )

    def stop(self, command: str) -> None:
        """Press Ctrl-C where something runs."""
        if command in self.running:
            process = self.running.pop(command)
            process.send_signal(signal.SIGINT)
            process.wait(60)

    def output(self, command: str) -> Path:
        """What something that runs on has printed."""
        return self.folder.parent / f"{command.replace(' ', '-')}.txt"

    def waits_for(self, shown: str, command: str) -> None:
        """Wait until something that runs on has printed what the page shows."""
        file = self.output(command)
        try:
            wait_until(lambda: agree(shown, file.read_text(encoding="utf-8")))
        except AssertionError:
            pytest.fail(f"{command} has not printed\n{shown}\nbut\n{file.read_text(encoding='utf-8')}")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    folder = tmp_path / "tutorial"
    folder.mkdir()
    somebody = Reader(folder)
    yield somebody
    for command in list(somebody.running):
        somebody.stop(command)


def test_the_tutorial_works_word_for_word(reader: Reader) -> None:
    """Each file is saved and each command typed as it stands, and prints what the page shows below it."""
    blocks = list(BLOCK.finditer(PAGE))
    for block, after in zip_longest(blocks, blocks[1:]):
        code = reader.read(block["code"].strip())
        told = after and after["language"] == "text" and not after["by"]
        shown = reader.read(after["code"]) if told else "…"
        match block["language"]:
            case "text":
                if block["by"]:
                    reader.waits_for(code, block["by"])
            case "" if code in RUN_ON:
                reader.start(code)
                reader.waits_for(shown, code)
            case "":
                reader.types(code, shown)
            case _:
                reader.save(code)
