"""A Python of its own, for what has to happen in one that has done nothing yet."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def printed_by(code: str, environment: Mapping[str, str] = os.environ) -> str:
    """What a program prints, without the line's end; where it fails, so does the test."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=dict(environment)
    )
    return done.stdout.strip()
