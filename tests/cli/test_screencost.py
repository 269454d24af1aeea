"""What the screen costs, worked out from logs and from bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from cockpit import profile as profiles
from cockpit.pseudoterminal import PseudoTerminal, has_visible
from cockpit.reducer import reduce
from cockpit.runs import Run
from cockpit.screencost import Window, summarize, window_of
from cockpit.state import RunState
from cockpit.trial import lengthen, settings
from cockpit.underway import MeasurementError, failure
from gpt import events as ev
from gpt.errors import RunError

ROOT = Path(__file__).resolve().parents[2]


def step(time: float, number: int) -> ev.StepDone:
    tokens = 100 * number
    return ev.StepDone(
        time=time, step=number, loss=2.0, lr=1e-3, grad_norm=1.0, ms=1.0, tokens=tokens, tokens_per_s=9.0
    )


def meters(time: float, frames: int | None, cpu: float | None) -> ev.TelemetrySampled:
    return ev.TelemetrySampled(
        time=time, rss=1, host_memory_used=1, host_memory_total=1, cpu_percent=1, process_cpu_percent=1,
        screen_frames=frames, screen_cpu_s=cpu,
    )  # fmt: skip


STEPS = [step(10.0 + 0.5 * number, number) for number in range(21)]  # 200 tokens/s from 10 to 20


def test_tokens_are_counted_by_wall_time_inside_the_window_only() -> None:
    slow_before = [step(9.0 - number, 0) for number in range(3)]
    stall = [msgspec.structs.replace(event, time=event.time + 2.0) for event in STEPS[10:]]
    assert window_of(slow_before + STEPS, 10.0, 20.0).tokens_per_s == pytest.approx(200)
    assert window_of(STEPS[:10] + stall, 10.0, 22.0).tokens_per_s == pytest.approx(2000 / 12)


def test_frames_cpu_and_bytes_are_those_between_two_readings_of_the_meters() -> None:
    log = [*STEPS, meters(9, 5, 3.0), meters(11.0, 10, 3.5), meters(15.0, 18, 3.54), meters(19.0, 26, 3.58)]
    asked: list[tuple[float, float]] = []

    def sent(start: float, end: float) -> int:
        asked.append((start, end))
        return 32_000

    window = window_of(log, 10.0, 20.0, sent)
    assert asked == [(11.0, 19.0)]
    assert msgspec.structs.asdict(window) == pytest.approx({
        "tokens_per_s": 200.0, "frames_per_s": 2.0, "cpu_ms_per_frame": 5.0, "screen_share": 0.01,
        "bytes_per_frame": 2000.0, "bytes_per_s": 4000.0, "first_frame_s": None, "key_ms": (),
    })  # fmt: skip


def test_without_a_screen_its_figures_are_unknown() -> None:
    log = [*STEPS, meters(11.0, None, None), meters(15.0, None, None)]
    assert window_of(log, 10.0, 20.0) == Window(tokens_per_s=200.0)


def test_a_window_with_too_few_steps_is_refused() -> None:
    with pytest.raises(RunError, match="only 2 steps in 5 s; measure longer with --seconds, or"):
        window_of([step(10.0, 1), step(12.0, 2)], 8.0, 13.0)


def test_the_cost_is_the_median_over_the_pairs_and_keys_count_together() -> None:
    pairs = [
        (Window(tokens_per_s=100.0), Window(tokens_per_s=98.0, bytes_per_s=1.0, key_ms=(10.0, 20.0))),
        (Window(tokens_per_s=50.0), Window(tokens_per_s=50.5, bytes_per_s=3.0, key_ms=(30.0,))),
        (Window(tokens_per_s=100.0), Window(tokens_per_s=90.0, bytes_per_s=9.0)),
    ]
    result = summarize(pairs)
    assert result["screen_costs"] == pytest.approx([0.02, -0.01, 0.1])
    assert result["screen_cost"] == pytest.approx(0.02)
    assert (result["bytes_per_s"], result["cpu_ms_per_frame"]) == (3.0, None)
    assert (result["key_ms_p50"], result["key_ms_p95"], result["key_presses"]) == (20.0, pytest.approx(29.0), 3)
    assert summarize([(Window(tokens_per_s=1.0), Window(tokens_per_s=1.0))])["key_ms_p95"] is None


def test_the_runs_to_be_measured_do_nothing_but_train(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('[data]\nname = "python-stdlib"\n[train]\nmax_steps = 70\n')
    before = profiles.load(path).profile
    arguments = settings(before, compiled=True)
    after = profiles.load(path, arguments[1::2]).profile
    assert set(arguments[::2]) == {"--set"}
    assert (after.train.eval_interval, after.sample.interval, after.checkpoint.interval) == (0, 0, 0)
    assert after.train.max_steps == 10**9 and after.train.compile is True
    assert after.optim.decay_steps == 70, "the rate is what it would be"


def test_a_lengthened_log_is_read_as_a_run_of_so_many_steps(tmp_path: Path) -> None:
    run = Run(tmp_path)
    finished = ev.Finished(step=1, reason="max_steps")
    run.events_path.write_bytes(b"".join(map(ev.encode, [step(1.0, 1), finished])))
    lengthen(run, 50)
    state = RunState()
    for event in run.read_events():
        state = reduce(state, event)
    assert (state.step, state.finished) == (50, None)
    assert len(list(run.read_events())) == 50


@pytest.mark.parametrize(
    ("code", "said", "kind", "text"),
    [
        (2, b"a warning\r\ngpt-cockpit: no terminal\r\n", RunError, "no terminal"),
        (2, b"gpt-cockpit: bad \x1b]52;c;aGk=\x07", RunError, "bad"),
        (-9, b"", RunError, "a measurement was killed"),
        (1, b"Traceback\nZeroDivisionError: x", MeasurementError, "a measurement ended with 1: ZeroDivisionError: x"),
        (0, b"", MeasurementError, "a measurement ended with 0: without a word"),
    ],
)
def test_a_run_that_ends_too_early_says_why(code: int, said: bytes, kind: type[Exception], text: str) -> None:
    error = failure(code, said)
    assert type(error) is kind and str(error).startswith(text) and str(error).isprintable()


# The pseudo-terminal


@pytest.mark.parametrize(
    ("output", "visible"),
    [
        (b"", False),
        (b"\x1b[?1049h\x1b[?25l\x1b[?2026$p \r\n\x1b[2J", False),
        (b"\x1b]2;a title\x07\x1bP+q544e\x1b\\", False),
        (b"\x1b[38;2;1;2", False),
        (b"\x1b]2;half a title", False),
        (b"\x1b(B\x1b[1;31m  x", True),
        ("\x1b[1m⣿".encode(), True),
    ],
)
def test_visible_is_what_is_neither_blank_nor_control(output: bytes, visible: bool) -> None:
    assert has_visible(output) is visible


def in_terminal(code: str, **size: int) -> PseudoTerminal:
    size = {"columns": 91, "rows": 23} | size
    return PseudoTerminal([sys.executable, "-c", code], env=dict(os.environ) | {"COLUMNS": "7"}, **size)


def test_a_program_sees_a_terminal_of_the_size_asked_for_and_its_bytes_are_counted() -> None:
    code = "import os, sys; sys.stdout.write('%d %d|' % os.get_terminal_size(1)); sys.stdout.write('x' * 5000)"
    with in_terminal(code) as terminal:
        assert terminal.wait_until(lambda: False, 30) is None, "it has ended"
        assert terminal.output.startswith(b"91 23|")
        assert terminal.bytes_between(0, 1e12) == len(terminal.output) == 5006
        assert terminal.bytes_between(0, 1) == 0


def test_keys_reach_the_program_and_its_answer_is_seen() -> None:
    with in_terminal("import tty, sys; tty.setraw(0); print('up', flush=1); print(ord(sys.stdin.read(1)))") as terminal:
        assert terminal.wait_until(lambda: b"up" in terminal.output, 30) is not None
        terminal.press(b"?")
        assert terminal.wait_until(lambda: b"63" in terminal.output, 30) is not None


def test_at_the_end_the_program_is_gone_even_if_it_ignores_a_hang_up() -> None:
    code = "import signal, time; signal.signal(1, signal.SIG_IGN); print('up', flush=1); time.sleep(100)"
    with in_terminal(code) as terminal:
        assert terminal.wait_until(lambda: b"up" in terminal.output, 30) is not None
        assert terminal.process.poll() is None
    assert terminal.process.returncode == -signal.SIGKILL


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's death")
def test_the_program_does_not_outlive_a_bench_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        "from cockpit.pseudoterminal import PseudoTerminal\n"
        "child = \"import signal, time; signal.signal(1, signal.SIG_IGN); print('up', flush=1); time.sleep(100)\"\n"
        "terminal = PseudoTerminal([sys.executable, '-c', child], columns=80, rows=24, env=dict(os.environ))\n"
        "terminal.wait_until(lambda: b'up' in terminal.output, 30)\n"
        "print(terminal.process.pid, flush=True)\n"
        "terminal.read(100)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.communicate()
    assert ended(child)


def ended(pid: int) -> bool:
    """Whether a process ends, or is left for its new parent to bury."""
    import psutil

    try:
        psutil.Process(pid).wait(timeout=10)
    except psutil.NoSuchProcess:
        return True
    except psutil.TimeoutExpired:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    return True
