"""A small run for the pseudo-terminal tests: real program, real trainer, made text."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from harness import PROFILE, ROOT, Cockpit
from holding import SETTINGS
from losses import weights
from sshd import Login, serving

from tests.tiny_runs import sums


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with `sums.toml` and its text, to run the program in."""
    (tmp_path / "sums.txt").write_text(sums(60))
    (tmp_path / "sums.toml").write_text(PROFILE)
    return tmp_path


@pytest.fixture
def start(desk: Path) -> Iterator[Callable[..., Cockpit]]:
    """Starts the program on `sums.toml`, or on other arguments, in a pseudo-terminal."""
    with ExitStack() as stack:

        def begin(*arguments: str, **options: Any) -> Cockpit:
            return stack.enter_context(Cockpit(*(arguments or ("sums.toml",)), cwd=desk, **options))

        yield begin


@pytest.fixture
def login(desk: Path) -> Iterator[Login]:
    """A way to log in to this machine by ssh."""
    with serving(desk / "sshd") as login:
        yield login


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Hash of the weights of a run of holding.SETTINGS that nothing happens to."""
    desk = tmp_path_factory.mktemp("undisturbed")
    (desk / "sums.txt").write_text(sums(60))
    (desk / "sums.toml").write_text(PROFILE)
    command = [sys.executable, "-m", "cockpit", "sums.toml", "--headless", "--run", "calm", *SETTINGS]
    subprocess.run(command, cwd=desk, env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, capture_output=True)
    return weights(desk / "runs" / "calm")
