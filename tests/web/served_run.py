"""`gpt-cockpit serve` as a process, for tests: the real program behind the real server."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0
"""Seconds to wait for anything: shared machines stall."""


class Served:
    """`gpt-cockpit serve` on a free port of this machine. Killed at the end if it still runs, and only it."""

    def __init__(self, desk: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
        ours = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(desk / "state"), "XDG_CONFIG_HOME": str(desk / "config")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cockpit", "serve", "sums.toml", "--port", "0", "--run", "served"],
            cwd=desk, env=inherited | ours, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert self.process.stdout
        line = self.process.stdout.readline()
        found = re.search(r"http://(127\.0\.0\.1:\d+)/\?token=(\S+)", line)
        assert found, line + self.process.stdout.read()
        self.host, self.token = found[1], found[2]
        self.log = desk / "runs/served/events.jsonl"

    def wait_logged(self, text: str, after: int = 0) -> int:
        """Waits until the run's log has a text after a place; returns its size then."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            log = self.log.read_bytes() if self.log.exists() else b""
            if text.encode() in log[after:]:
                return len(log)
            assert self.process.poll() is None, f"ended before {text}"
            time.sleep(0.05)
        raise AssertionError(f"{text} is not in the log")
