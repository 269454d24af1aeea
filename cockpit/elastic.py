"""`--nproc N`: N ranks on this machine by torch's elastic launcher, which starts all anew when one of them dies.

The ranks are this program again, without a screen and with sessions of their own, as torchrun would start them. What is
different from torchrun: the run's folder is held over restarts, the ranks that follow are told which one was lost,
what a user has to mend is not tried again, and a stop waits until the last checkpoint is durable.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerSpec, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs
from torch.distributed.elastic.multiprocessing.api import SubprocessContext
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure
from torch.distributed.elastic.rendezvous import RendezvousParameters
from torch.distributed.elastic.rendezvous import registry as rendezvous

from cockpit.eventlog import EventLog
from cockpit.launched import FOLDER, LOST
from cockpit.runs import Run
from cockpit.signals import MORE_TO_DO
from gpt.events import LogLine

USER_ERROR = 2
"""Exit code of what happens again however often it is tried."""
STOP_SECONDS = 600
"""How long ranks that were told to stop may take to save: as long as they wait for each other (gpt.distributed)."""
_ROLE = "trainer"
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1)


def launch(run: Run, arguments: Sequence[str], *, nproc: int, max_restarts: int) -> int:
    """Trains `run` on `nproc` ranks to its end and returns the exit code, as session.run's.

    Args:
        run: its folder, held by the caller.
        arguments: of this program, for each rank.
    """
    with tempfile.TemporaryDirectory(prefix="gpt-cockpit-") as scratch, _logged(run.path / "console-launcher.log"):
        parameters = RendezvousParameters(
            backend="c10d", endpoint="localhost:0", run_id=str(uuid.uuid4()), min_nodes=1, max_nodes=1
        )
        handler = rendezvous.get_rendezvous_handler(parameters)
        spec = WorkerSpec(
            role=_ROLE, local_world_size=nproc, entrypoint=sys.executable, args=("-m", "cockpit", *arguments),
            rdzv_handler=handler, max_restarts=max_restarts, monitor_interval=0.1, local_addr="localhost",
        )  # fmt: skip
        os.environ[FOLDER] = str(run.path)
        agent: Any = _Agent(spec, DefaultLogsSpecs(log_dir=scratch))  # its types are lost in decorators of torch's
        try:
            with agent.signals_kept():
                result = agent.run(_ROLE)
        except KeyboardInterrupt:
            agent.end_at_once()
            return 130
        finally:
            handler.shutdown()
            os.environ.pop(FOLDER, None)
            os.environ.pop(LOST, None)
    if killed := agent.killed(result):
        sys.stderr.write(f"gpt-cockpit: {killed}\n")
        with suppress(OSError):
            log = EventLog(run.events_path)  # the first rank, which wrote it, is gone
            log.append(LogLine(level="error", text=killed))
            log.close()
    return agent.exit_code(result)


class _Agent(LocalElasticAgent):
    """Starts the ranks, watches them, and notes what ended them."""

    def __init__(self, spec: WorkerSpec, logs_specs: DefaultLogsSpecs) -> None:
        super().__init__(spec, logs_specs)
        self._received = 0

    @contextmanager
    def signals_kept(self) -> Iterator[None]:
        """Inside the block, signals are passed on to the ranks."""
        before = {number: signal.getsignal(number) for number in (*_PASSED_ON, signal.SIGHUP)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def exit_code(self, result: RunResult) -> int:
        """0; the code of the rank that went wrong, or 1 where it was killed; after a signal, the first rank's."""
        failure = self._decisive(result)
        return 0 if failure is None else max(1, failure.exitcode)

    def killed(self, result: RunResult) -> str:
        """Which rank was killed, where that has ended the run, and how; else nothing."""
        failure = self._decisive(result)
        if failure is None or failure.exitcode >= 0:
            return ""
        most = self._worker_group.spec.max_restarts
        allowed = f"{most} restart{'s were' if most != 1 else ' was'} allowed"
        return f"rank {_rank_of(failure, result.failures)} ended by {how(failure)}; {allowed}; --resume goes on"

    def _decisive(self, result: RunResult) -> ProcessFailure | None:
        if not result.is_failed():
            return None
        if self._received and 0 in result.failures:
            return result.failures[0]  # it has saved, or says why not
        return first(result.failures)

    def end_at_once(self) -> None:
        """Ends the ranks without waiting for anything."""
        self._shutdown(signal.SIGKILL, timeout=1)

    # Lost types here too.
    def _start_workers(self, worker_group: WorkerGroup) -> dict[int, Any]:  # pyright: ignore[reportIncompatibleVariableOverride]
        started: Any = super()._start_workers(worker_group)  # pyright: ignore[reportCallIssue]
        for number in _PASSED_ON:  # torch's own raise in the middle of anything
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal is gone; the run goes on
        return started

    def _stop(self, number: int, frame: object) -> None:
        """Passes a signal on: the ranks agree on the step after which they save. A second SIGINT ends them at once."""
        if self._received and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._received, self._remaining_restarts = number, 0
        for pid in self._pcontext.pids().values() if self._pcontext else ():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:  # pyright: ignore[reportIncompatibleVariableOverride]
        if self._received:
            self._await_end()
        result: Any = super()._monitor_workers(worker_group)  # pyright: ignore[reportCallIssue]
        if result.state is WorkerState.FAILED:
            failure = first(result.failures)
            os.environ[LOST] = f"{_rank_of(failure, result.failures)} {how(failure)}"
            if self._received or any(each.exitcode in (USER_ERROR, MORE_TO_DO) for each in result.failures.values()):
                self._remaining_restarts = 0
        return result

    def _await_end(self) -> None:
        """Waits for ranks that were told to stop: of those that have not ended, torch would kill all at the first end.

        Some have more to do than others: the first one writes the checkpoint.
        """
        handlers = self._pcontext.subprocess_handlers if isinstance(self._pcontext, SubprocessContext) else {}
        until = time.monotonic() + STOP_SECONDS
        while any(each.proc.poll() is None for each in handlers.values()) and time.monotonic() < until:
            time.sleep(self._worker_group.spec.monitor_interval)


def first(failures: Mapping[int, ProcessFailure]) -> ProcessFailure:
    """The failure that the others follow from: one that nobody here can have caused, else the earliest.

    A rank whose neighbour was killed ends a moment later by an error of its own, often before anybody has looked.
    """

    def weight(failure: ProcessFailure) -> tuple[bool, bool, int]:
        told_to = failure.exitcode in (-signal.SIGTERM, 128 + signal.SIGTERM)  # by the launcher, after the first
        return told_to, failure.exitcode >= 0 and failure.exitcode != USER_ERROR, failure.timestamp

    return min(failures.values(), key=weight)


def how(failure: ProcessFailure) -> str:
    """`signal SIGKILL` or `exit code 1`."""
    return f"signal {failure.signal_name()}" if failure.exitcode < 0 else f"exit code {failure.exitcode}"


def _rank_of(failure: ProcessFailure, failures: Mapping[int, ProcessFailure]) -> int:
    return next(rank for rank, each in failures.items() if each is failure)


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Sends what torch's launcher has to say into a file: nothing of it belongs on a terminal."""
    logger, handler = logging.getLogger("torch.distributed.elastic"), logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    before = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
        handler.close()
