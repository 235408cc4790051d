"""A real Ray cluster of one node on this machine."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest


@contextmanager
def running_ray_cluster(*, processors: int = 1) -> Iterator[str]:
    """Its address; the test is skipped without Ray."""
    pytest.importorskip("ray")
    port = free_port()
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={port}"]
    options = ["--node-ip-address=127.0.0.1", "--object-store-memory=80000000", "--include-dashboard=false"]
    # Not pytest's directory: Ray makes sockets in it, whose paths may not be long.
    with TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            own = [f"--num-cpus={processors}", "--disable-usage-stats", f"--temp-dir={directory}"]
            head = subprocess.Popen([*command, *options, *own], stdout=output, stderr=output)
        try:
            deadline = time.monotonic() + 60
            while b"Ray runtime started" not in log.read_bytes():
                assert head.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            yield f"127.0.0.1:{port}"
        finally:
            head.send_signal(signal.SIGTERM)
            head.wait(30)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
