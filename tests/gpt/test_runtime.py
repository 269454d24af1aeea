"""What a process is told before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt import runtime

ROOT = Path(__file__).resolve().parents[2]


def said_by_a_fresh_process(code: str, **environment: str) -> str:
    env = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT, env=env | environment
    )
    return done.stdout.strip()


def test_openmp_threads_spin_briefly_unless_the_environment_says_otherwise() -> None:
    code = (
        "import os; from gpt.runtime import prepare_process; prepare_process(); print(os.environ.get('GOMP_SPINCOUNT'))"
    )
    assert said_by_a_fresh_process(code) == runtime.SPIN_COUNT
    assert said_by_a_fresh_process(code, GOMP_SPINCOUNT="7") == "7"
    assert said_by_a_fresh_process(code, OMP_WAIT_POLICY="ACTIVE") == "None"


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_freed_memory_is_kept_for_the_next_tensor() -> None:
    """Page faults of making and freeing the same 16 MiB a hundred times, in a thread as the trainer's is."""
    code = (
        "import resource, threading, numpy as np\n"
        "from gpt.runtime import keep_freed_memory\n"
        "{keep}\n"
        "def faults(): return resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "def work():\n"
        "    np.ones(2 * 2**20)\n"
        "    before = faults()\n"
        "    for _ in range(100): np.ones(2 * 2**20)\n"
        "    print(faults() - before)\n"
        "thread = threading.Thread(target=work); thread.start(); thread.join()\n"
    )
    kept = int(said_by_a_fresh_process(code.replace("{keep}", "assert keep_freed_memory()")))
    given_back = int(said_by_a_fresh_process(code.replace("{keep}", "")))
    assert kept < given_back / 10
