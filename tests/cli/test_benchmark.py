"""`gpt-cockpit bench`: its JSON, its table, its refusals, and no child left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from cockpit import benchmark, cli
from cockpit.benchmark import Plan, as_table, combine, compare
from cockpit.underway import MeasurementError
from gpt.config import Profile
from gpt.errors import RunError

ROOT = Path(__file__).resolve().parents[2]
RUN: dict[str, Any] = {
    "ms_per_iter": 1234.567, "ms_per_iter_p05": 1200.1, "ms_per_iter_p95": 9876.54, "ms_per_iter_wall": 1300.0,
    "tokens_per_s": 1_234_567.8, "mfu": None, "mfu_measured_peak": 0.4567, "measured_peak_flops": 7.89e14,
    "peak_memory_bytes": 3 * 2**30, "compile_s": 61.2, "compiled": True,
    "breakdown": {"data": 1234.56, "forward": 1234.56, "backward": 1234.56, "optimizer": 1234.56, "other": 1.0},
    "losses": [3.0, 2.5], "device": "AMD EPYC 9654 96-Core Processor of a very long name indeed, 192 threads",
    "dtype": "bfloat16", "threads": 2, "lanes": 2, "torch": "2.13.0+cu130", "steps": 100,
}  # fmt: skip
SCREEN = {
    "screen_cost": 0.0123, "screen_costs": [0.01, 0.0123, 0.02], "headless_tokens_per_s": 1e5,
    "screen_tokens_per_s": 99e3, "cpu_ms_per_frame": 4.9, "frames_per_s": 1.9, "screen_share": 0.0093,
    "bytes_per_frame": 3600.0, "bytes_per_s": 7000.0, "first_frame_s": 0.61, "key_ms_p50": 31.0, "key_ms_p95": 62.0,
    "key_presses": 24, "open_1m_steps_s": None, "open_1m_again_s": 0.93, "screen_columns": 120,
    "screen_rows": 35, "cpu_budget": 0.01,
}  # fmt: skip


def run(ms: float, **changes: Any) -> dict[str, Any]:
    return RUN | {"ms_per_iter": ms, "breakdown": {"forward": ms}} | changes


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text('[data]\ninput = "text.txt"\n[model]\nblock_size = 16\n')
    Path("text.txt").write_text("a text to learn\n" * 100)
    return tmp_path


def left(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as end:
        cli.main(["bench", *arguments])
    return end.value.code


def test_the_json_has_the_keys_that_scripts_rely_on(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []

    def measured(*commands: list[str]) -> list[dict[str, Any]]:
        asked.extend(commands)
        plain = {"ms_per_iter": 2000.0, "losses": [3.0, 2.75]}
        return [plain if "plain_loop" in command[0] else RUN for command in commands]

    monkeypatch.setattr(benchmark, "_measure", measured)
    monkeypatch.setattr(benchmark, "_measure_in_turns", measured)
    monkeypatch.setattr(benchmark, "measure_screen", lambda profile, text, **options: SCREEN)
    assert left("mine.toml", "--json", "--baseline", "--screen", "--repeats", "2", "--steps", "7") == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    always = {"ms_per_iter", "ms_per_iter_p95", "tokens_per_s", "mfu_measured_peak", "compile_s"}
    numbers = always | {"baseline_ms_per_iter", "ratio", "screen_cost", "cpu_ms_per_frame", "bytes_per_frame"}
    numbers |= {"bytes_per_s", "key_ms_p50", "key_ms_p95", "first_frame_s"}
    assert {key for key in numbers if isinstance(result[key], float)} == numbers
    assert isinstance(result["peak_memory_bytes"], int)
    assert result["mfu"] is None and result["open_1m_steps_s"] is None
    assert list(result["breakdown"]) == ["data", "forward", "backward", "optimizer", "other"]
    assert result["ratio"] == pytest.approx(2000 / 1234.567) and result["largest_loss_difference"] == 0.25
    assert ["gpt.bench" in arguments for arguments in asked] == [True, False, True, False], "they take turns"
    assert all(arguments[-3:] == ["7", "--warmup", "20"] for arguments in asked)
    assert err == ""


def test_without_being_asked_for_the_plain_loop_and_the_screen_are_left_out(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(benchmark, "_measure", lambda command: [RUN])
    assert left("mine.toml", "--json") == 0
    assert not {"ratio", "screen_cost", "losses"}.intersection(json.loads(capsys.readouterr().out))


def test_repeats_make_medians_and_the_breakdown_is_the_middle_ones() -> None:
    memory = [{"peak_memory_bytes": size} for size in (1, 5, 2)]
    result = combine([run(ms, **more) for ms, more in zip((30.0, 10.0, 20.0), memory, strict=True)])
    assert (result["ms_per_iter"], result["breakdown"]) == (20.0, {"forward": 20.0})
    assert result["ms_per_iter_runs"] == [30.0, 10.0, 20.0]
    assert (result["peak_memory_bytes"], result["repeats"], result["mfu"]) == (5, 3, None)


def test_the_ratio_is_the_median_over_the_pairs() -> None:
    plain = [{"ms_per_iter": ms, "losses": [3.0, 2.4]} for ms in (20.0, 20.0, 90.0)]
    result = compare([run(10.0), run(20.0), run(30.0)], plain)
    assert (result["ratios"], result["ratio"]) == ([2.0, 1.0, 3.0], 2.0)
    assert result["largest_loss_difference"] == pytest.approx(0.1)


def test_a_loss_that_is_not_finite_makes_the_difference_unknown() -> None:
    result = compare([run(10.0, losses=[3.0, None])], [{"ms_per_iter": 10.0, "losses": [3.0, 2.0]}])
    assert result["largest_loss_difference"] is None
    assert "unknown: not all are finite" in as_table(Profile(), combine([run(10.0)]) | result)


@pytest.mark.parametrize("more", [{}, {"mfu": 0.4}, {"compiled": False}])
def test_the_table_fits_80_columns_and_leaves_no_figure_out(more: dict[str, Any]) -> None:
    result = combine([RUN | more]) | SCREEN | compare([RUN] * 9, [{"ms_per_iter": 1e5, "losses": [3.0, 2.5]}] * 9)
    table = as_table(Profile(name="a profile of a name that is rather long"), result)
    assert max(len(line) for line in table.splitlines()) <= 80
    assert table.replace("\n", "").isprintable()
    for figure in ("1234.57", "1200.10…9876.54", "other 1.00", "3.00 GiB", "81.00", "1.2 %", "4.9 ms", "7,000 bytes/s"):
        assert figure in table, figure
    assert table.count("81.00") == 10
    assert "opened in – s" in table


@pytest.mark.parametrize(
    "mistake", [{"steps": 0}, {"warmup": -1}, {"repeats": 0}, {"columns": 10}, {"rows": 2}, {"seconds": 0.5}]
)
def test_a_number_out_of_range_is_refused(mistake: dict[str, Any]) -> None:
    (name, value) = next(iter(mistake.items()))
    with pytest.raises(RunError, match=f"--{name} must be at least .*; got {value}"):
        Plan(**mistake).check()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["mine.toml", "--steps", "0"], "--steps must be at least 1; got 0"),
        (["mine.toml", "--set", "data.input=gone.txt"], "data.input: no file matches gone.txt"),
        (["min"], "no profile min; did you mean mine.toml?"),
        (["mine.toml", "--baseline", "--set", "model.norm=rmsnorm"], "--baseline: the plain loop is GPT-2's, without"),
        (["mine.toml", "--resume"], "Unknown option: --resume"),
    ],
)
def test_a_mistake_is_one_line_and_starts_nothing(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    monkeypatch.setattr(benchmark, "_measure", lambda *commands: pytest.fail("a measurement was started"))
    assert left(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith(f"gpt-cockpit: {line}") and err.count("\n") == 1


@pytest.mark.parametrize(
    ("code", "exit_code", "first", "last"),
    [
        (
            "sys.stderr.write('warning\\nno such device\\n'); sys.exit(2)",
            2,
            "gpt-cockpit: no such",
            "gpt-cockpit: no such",
        ),
        (
            "import os; os.kill(os.getpid(), 9)",
            2,
            "gpt-cockpit: a measurement was killed",
            "gpt-cockpit: a measurement",
        ),
        ("1 / 0", 1, "Traceback", "gpt-cockpit: a measurement ended with 1: ZeroDivisionError"),
    ],
    ids=["the user's mistake", "out of memory", "our bug"],
)
def test_a_measurement_that_fails_says_why(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: str, exit_code: int,
    first: str, last: str,
) -> None:  # fmt: skip
    measure = benchmark._measure
    monkeypatch.setattr(benchmark, "_measure", lambda command: measure(["-c", f"import sys\n{code}"]))
    assert left("mine.toml") == exit_code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == "" and lines[0].startswith(first) and lines[-1].startswith(last)
    assert exit_code == 1 or len(lines) == 1


CHILD = """
import pathlib, subprocess, sys
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(100)"])
pathlib.Path("pid").write_text(str(started.pid))
started.wait()
"""

PLAYER = """
import json, sys
from gpt import turns
turns.TURN_SECONDS = 0
turn = turns.Turns(int(sys.argv[-3]), int(sys.argv[-1]))
def note(what):
    with open("log", "a") as log:
        log.write(what)
for step in range(int(sys.argv[2])):
    turn.wait()
    note(sys.argv[1])
turn.finish()
note(sys.argv[1].upper())
print(json.dumps({"waited": turn.waited}))
"""


def play(name: str, steps: int) -> list[str]:
    """A measurement of `steps` turns of one step each, which notes them, and its end in upper case."""
    return ["-c", PLAYER, name, str(steps)]


@pytest.mark.parametrize(("ours", "others", "log"), [(5, 3, "abababaa"), (2, 4, "ababbb"), (1, 1, "ab"), (0, 2, "bb")])
def test_two_that_are_compared_take_turns_to_the_end(desk: Path, ours: int, others: int, log: str) -> None:
    results = benchmark._measure_in_turns(play("a", ours), play("b", others))
    assert Path("log").read_text() in (f"{log}AB", f"{log}BA"), "what follows the steps is in nobody's way"
    assert all(result["waited"] > 0 for result in results if ours)


def test_a_turn_is_some_steps_long(desk: Path) -> None:
    long = PLAYER.replace("TURN_SECONDS = 0", "TURN_SECONDS = 1000")
    benchmark._measure_in_turns(["-c", long, "a", "4"], ["-c", long, "b", "3"])
    assert Path("log").read_text() in ("aaaabbbAB", "aaaabbbBA")


def test_one_whose_other_dies_goes_on_alone(desk: Path) -> None:
    with pytest.raises(MeasurementError, match="ended with 3"):
        benchmark._measure_in_turns(play("a", 3), ["-c", "import os; os._exit(3)"])
    assert Path("log").read_text() == "aaaA"


def test_where_ours_fails_the_other_is_ended(desk: Path) -> None:
    fails = "import os, sys, time\nwhile not (os.path.exists('pid') and os.path.getsize('pid')): time.sleep(0.01)\n"
    fails += "sys.exit(print('no such device', file=sys.stderr) or 2)"
    with pytest.raises(RunError, match="no such device"):
        benchmark._measure_in_turns(["-c", fails], ["-c", CHILD])
    assert not is_alive(int(Path("pid").read_text()))


@pytest.mark.parametrize(("device", "takes_turns"), [("cpu", True), ("cuda", False), ("mps", False), ("auto", True)])
def test_where_two_may_not_fit_into_memory_they_come_one_after_the_other(
    desk: Path, monkeypatch: pytest.MonkeyPatch, device: str, takes_turns: bool
) -> None:
    called: list[str] = []
    for name in ("_measure", "_measure_in_turns"):
        monkeypatch.setattr(benchmark, name, lambda *commands, name=name: called.append(name) or [RUN, RUN])
    monkeypatch.setattr("gpt.runtime.has_card", lambda: False)
    assert left("mine.toml", "--baseline", "--repeats", "1", "--set", f"train.device={device}") == 0
    assert called == ["_measure_in_turns" if takes_turns else "_measure"]


def test_our_own_failure_is_no_users_error() -> None:
    assert not issubclass(MeasurementError, RunError)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_bench_and_leaves_no_child(desk: Path, number: int, code: int) -> None:
    program = (
        "from cockpit import benchmark, cli\n"
        "measure = benchmark._measure\n"
        f"benchmark._measure = lambda command: measure(['-c', {CHILD!r}])\n"
        "cli.main(['bench', 'mine.toml'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE)
    pid = wait_for_pid(desk / "pid")
    process.send_signal(number)
    assert process.communicate(timeout=30)[1] == b""
    assert process.returncode == code
    assert not is_alive(pid)


def wait_for_pid(path: Path) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and path.read_text():
            return int(path.read_text())
        time.sleep(0.02)
    raise AssertionError("the child did not start")


def is_alive(pid: int) -> bool:
    """Whether a process goes on shortly afterwards."""
    for _ in range(100):
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:  # an orphan, whom not every machine's init buries
                return False
        except psutil.NoSuchProcess:
            return False
        time.sleep(0.05)
    return True
