"""A preparation in a process of its own, which ends itself at a chosen moment as a power cut would.

Arguments: source, folder, and after how many durable writes (calls of fsync) to die; 0 is never.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from gpt.prepare_folder import prepare_folder
from gpt.preparing import Preparation


def main() -> None:
    source, out, last = sys.argv[1], sys.argv[2], int(sys.argv[3])
    write, calls = os.fsync, 0

    def fsync(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == last:
            os.kill(os.getpid(), signal.SIGKILL)
        write(descriptor)

    os.fsync = fsync
    job = Preparation((source,), Path(out), tokenizer="byte", val="0.1", shard_tokens=400_000)
    prepare_folder(job, workers=1, save_every_s=0)


if __name__ == "__main__":
    main()
