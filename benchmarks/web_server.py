"""The web page in a process of its own, for the benchmarks that visit it."""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def served(scratch: str) -> Iterator[tuple[str, int]]:
    """Its address and process number while it runs; `scratch` is its folder for temporary files."""
    server = subprocess.Popen(
        [sys.executable, "-m", "facemorph", "web", "--port", "0"], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": scratch, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    assert server.stdout is not None
    found = re.search(r"http://\S+:\d+", server.stdout.readline())
    assert found, "it did not start"
    try:
        yield found[0], server.pid
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)
