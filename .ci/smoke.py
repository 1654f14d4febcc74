"""A collector that was installed from the wheel starts, takes a prediction, answers SQL and ends well."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lapwing

LAPWING = str(Path(sys.executable).with_name("lapwing"))
DEADLINE_S = 60.0


def main() -> None:
    """Try it in an empty folder."""
    assert "site-packages" in lapwing.__file__, f"{lapwing.__file__}: not from the wheel"
    with tempfile.TemporaryDirectory() as folder:
        listen = [word for port in ("http", "grpc", "web") for word in (f"--{port}", "127.0.0.1:0")]
        collector = subprocess.Popen([LAPWING, "up", *listen], cwd=folder, stdout=subprocess.PIPE, text=True)
        try:
            for line in collector.stdout or ():
                if "send predictions to" in line:
                    lapwing.init(endpoint=line.split()[-1], service="smoke")
                    break
            lapwing.log_prediction(model="smoke", inputs={"x": 1}, output={"value": 2})
            assert lapwing.flush(timeout_s=DEADLINE_S), lapwing.stats()
            deadline = time.monotonic() + DEADLINE_S
            while (said := ask(folder)).stdout.split() != ["x,value", "1,2"]:
                assert time.monotonic() < deadline, said
            collector.terminate()
            assert collector.wait(DEADLINE_S) == 0
        finally:
            collector.kill()
    python = sys.version.split()[0]
    sys.stdout.write(f"lapwing {lapwing.__version__} from the wheel works on Python {python}\n")


def ask(folder: str) -> "subprocess.CompletedProcess[str]":
    """Ask for the prediction; there is no table for it, or nothing in it, until it is in the lake."""
    words = [LAPWING, "sql", "SELECT inputs.x, output.value FROM predictions.smoke", "--format", "csv"]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)


if __name__ == "__main__":
    main()
