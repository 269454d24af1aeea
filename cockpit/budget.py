"""How often the screen may draw, so that it costs the trainer next to nothing.

Drawing takes a core from a CPU run and the interpreter's lock from every run: what the screen spends, the trainer
loses. So the screen's thread measures its own CPU time, all of it, and spaces its frames to stay under a share of wall
time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

FASTEST = 0.1
"""Seconds between frames at least: ten frames a second."""
SLOWEST = 2.0
"""Seconds between frames at most: a frame every two seconds, whatever it costs."""
WINDOW = 20.0
"""Seconds over which `share` is taken."""
HURRIED_FRAMES = 4
"""Frames drawn at the fastest after a key press, so that its effect is seen; the budget is made up for afterwards."""


class FrameBudget:
    """Spaces the frames of one thread. Used by that thread only.

    A bucket fills with `share_allowed` seconds of CPU time a second and each frame takes out what it cost; the next
    frame is due when the bucket holds what a frame costs on average. Neither savings nor debts go beyond a few frames.

    Args:
        share_allowed: CPU time over wall time, e.g. 0.01.
        wall: a monotonic clock, seconds.
        cpu: CPU time of the thread that draws, seconds.
    """

    def __init__(
        self,
        share_allowed: float,
        *,
        wall: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self.share_allowed = share_allowed
        self._wall, self._cpu = wall, cpu
        self._frame_cost = 0.0
        self._hurried = 0
        self._credit = 0.0
        self._history: deque[tuple[float, float]] = deque()
        self._spent_before = 0.0
        self.total: tuple[int, float] = (0, 0.0)
        """Frames drawn so far, and all CPU seconds of the thread since `restart`; other threads may read it."""
        self.restart()

    def restart(self) -> None:
        """Forgets what was spent so far, such as on starting up."""
        self._credit = 0.0
        self._history.clear()
        self._spent_before = self._cpu()
        self._history.append((self._wall(), self._spent_before))
        self.total = (0, 0.0)

    def hurry(self) -> None:
        """Draws the next few frames as fast as allowed: someone pressed a key."""
        self._hurried = HURRIED_FRAMES

    def next_delay(self, drew: bool) -> float:
        """Seconds until the next frame. Call once a tick.

        Args:
            drew: whether the tick before this call drew anything; only such ticks count as the cost of a frame.
        """
        wall, cpu = self._wall(), self._cpu()
        last_wall, last_cpu = self._history[-1]
        spent, elapsed = cpu - last_cpu, wall - last_wall
        self.total = (self.total[0] + drew, cpu - self._spent_before)
        self._history.append((wall, cpu))
        while len(self._history) > 2 and wall - self._history[1][0] >= WINDOW:
            self._history.popleft()
        if drew or spent > self._frame_cost:
            self._frame_cost += 0.3 * (spent - self._frame_cost) if self._frame_cost else spent
        limit = SLOWEST * self.share_allowed
        self._credit = max(-limit, min(limit, self._credit + elapsed * self.share_allowed - spent))
        if self._hurried:
            self._hurried -= 1
            return FASTEST
        return max(FASTEST, min(SLOWEST, (self._frame_cost - self._credit) / self.share_allowed))

    @property
    def share(self) -> float | None:
        """CPU time over wall time of the newest WINDOW seconds, 0…1; None before there is anything to measure."""
        (first_wall, first_cpu), (last_wall, last_cpu) = self._history[0], self._history[-1]
        return (last_cpu - first_cpu) / (last_wall - first_wall) if last_wall - first_wall >= 1 else None
