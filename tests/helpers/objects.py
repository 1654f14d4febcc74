"""An object store of the tests' own that speaks S3: moto, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final
from urllib.request import Request, urlopen

from helpers.ports import free_port
from helpers.waiting import wait_until
from lapwing_collector.engine.place import Bucket, bucket_at

BUCKET: Final = "lapwing"
KEYS: Final = {"access_key": "lapwing", "secret_key": "a secret key"}
_NUMBERS: Final = count(1)


class ObjectStore:
    """A store with one bucket.

    Attributes:
        endpoint: host:port.
        pid: Its process.
    """

    def __init__(self, port: int, pid: int) -> None:
        self.endpoint = f"127.0.0.1:{port}"
        self.pid = pid

    def empty(self) -> str:
        """The address of a place in the bucket where nothing is."""
        return f"s3://{BUCKET}/lake{next(_NUMBERS)}"

    def bucket(self, url: str) -> Bucket:
        """That place, as the collector has it."""
        return bucket_at(url, endpoint=self.endpoint, path_style=True, tls=False, **KEYS)

    def settings(self, url: str) -> dict[str, object]:
        """That place, as settings have it."""
        s3 = {"endpoint": self.endpoint, "url_style": "path", "use_ssl": False, **KEYS}
        return {"data": url, "s3": s3}


@contextmanager
def running() -> Iterator[ObjectStore]:
    """A store for the length of the block."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: _makes_bucket(port))
        yield ObjectStore(port, process.pid)
    finally:
        process.kill()
        process.wait()


def _makes_bucket(port: int) -> bool:
    try:
        with urlopen(Request(f"http://127.0.0.1:{port}/{BUCKET}", method="PUT")) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False
