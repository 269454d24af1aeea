"""What a process is told before torch is loaded."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

from gpt import runtime
from tests.fresh_process import printed_by


def said_by_a_fresh_process(code: str, **environment: str) -> str:
    env = {key: value for key, value in os.environ.items() if key not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    return printed_by(code, env | environment)


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


_THP, _DEFRAG = (Path("/sys/kernel/mm/transparent_hugepage") / name for name in ("enabled", "defrag"))


def gives_huge_pages() -> bool:
    """Whether Linux makes them where they are asked for, also of memory that is in pieces."""
    if not (_THP.exists() and _DEFRAG.exists()) or "[never]" in _THP.read_text():
        return False
    return any(f"[{how}]" in _DEFRAG.read_text() for how in ("always", "madvise", "defer+madvise"))


@pytest.mark.skipif(not gives_huge_pages(), reason="no huge pages to be had here")
def test_tensors_lie_in_huge_pages_in_whatever_thread_they_are_made() -> None:
    code = (
        "import re, threading, numpy as np\n"
        "from pathlib import Path\n"
        "from gpt.runtime import prepare_process\n"
        "{prepare}\n"
        "made = []\n"
        "thread = threading.Thread(target=lambda: made.extend(np.ones(2**16) for _ in range(128)))\n"
        "thread.start(); thread.join()\n"
        "rollup = Path('/proc/self/smaps_rollup').read_text()\n"
        "print(re.search(r'AnonHugePages: +(\\d+)', rollup)[1])\n"
    )
    assert int(said_by_a_fresh_process(code.replace("{prepare}", "prepare_process()"))) > 50 * 1024, "of 64 MiB, in kB"
    if "[always]" not in _THP.read_text():
        assert int(said_by_a_fresh_process(code.replace("{prepare}", ""))) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_a_process_that_may_not_grow_so_far_has_ordinary_pages() -> None:
    code = (
        "import resource\n"
        "from gpt.runtime import keep_freed_memory, use_huge_pages\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (300 * 2**20,) * 2)\n"
        "print(keep_freed_memory(), use_huge_pages(), len(bytearray(100 * 2**20)))\n"
    )
    assert said_by_a_fresh_process(code) == f"True False {100 * 2**20}"


def machine(root: Path, cgroup: str, autogroup: str | None = None, weight: str | None = None) -> Path:
    """A root folder as the kernel would show it."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    if autogroup is not None:
        (root / "proc/sys/kernel").mkdir(parents=True)
        (root / "proc/sys/kernel/sched_autogroup_enabled").write_text(autogroup)
    if weight is not None:
        (root / "sys/fs/cgroup" / weight).mkdir(parents=True)
        (root / "sys/fs/cgroup" / weight / "cpu.weight").write_text("100\n")
    return root


@pytest.mark.parametrize(
    ("cgroup", "autogroup", "weight", "groups"),
    [
        ("0::/\n", "1\n", None, True),
        ("0::/\n", "0\n", None, False),
        ("0::/\n", None, None, False),
        ("0::/user.slice/a.scope\n", "0\n", "user.slice/a.scope", True),
        ("0::/user.slice/a.scope\n", "0\n", "user.slice", False),
        ("0::/\n", "0\n", "", True),  # a container: the root of what it sees has a weight
        ("3:cpuset:/job\n1:cpu,cpuacct:/job_7\n0::/\n", "0\n", None, True),
        ("3:cpuset:/job\n1:cpu,cpuacct:/\n0::/\n", "0\n", None, False),
    ],
)
def test_whether_priorities_count_only_within_the_session_or_the_job_is_read_from_the_kernel(
    tmp_path: Path, cgroup: str, autogroup: str | None, weight: str | None, groups: bool
) -> None:
    assert runtime.shares_by_group(machine(tmp_path, cgroup, autogroup, weight)) is groups


def test_a_card_that_auto_would_take_is_found_without_torch(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert not runtime.has_card(tmp_path)
    (tmp_path / "dev/nvidia0").touch()
    assert runtime.has_card(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has a priority of its own")
@pytest.mark.parametrize("grouped", [True, False])
def test_who_gives_way_does_so_with_all_that_it_starts_and_for_nobody_else(
    grouped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "shares_by_group", lambda: grouped)
    found: list[int] = []

    def own() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    def work() -> None:
        assert runtime.give_way() is grouped
        helper = threading.Thread(target=lambda: found.append(own()))
        helper.start()
        helper.join()
        found.append(own())

    before = own()
    trainer = threading.Thread(target=work)
    trainer.start()
    trainer.join()
    lowered = min(19, before + runtime.GIVEN_WAY) if grouped else before
    assert found == [lowered, lowered] and own() == before
