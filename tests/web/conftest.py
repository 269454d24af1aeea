"""A small training behind the real server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from served_run import PATIENCE, Served

from tests.terminal.harness import PROFILE
from tests.tiny_runs import sums


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A run that is served, training."""
    (tmp_path / "sums.txt").write_text(sums(60))
    (tmp_path / "sums.toml").write_text(PROFILE)
    served = Served(tmp_path)
    try:
        yield served
    finally:
        if served.process.poll() is None:
            served.process.terminate()  # saves and stops the run too
            try:
                served.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                served.process.kill()
                served.process.wait()
        if served.process.stdout:
            served.process.stdout.close()
