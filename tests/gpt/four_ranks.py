"""What each rank does in the tests of `test_four_ranks.py`.

    RANK=… WORLD_SIZE=… MASTER_ADDR=… MASTER_PORT=… python four_ranks.py FOLDER RUN SETTINGS [CHECKPOINT] …

Reads FOLDER/profile.json and makes one run after the other, three words each; SETTINGS is JSON, CHECKPOINT may be `-`.
"""

import os
import sys
from pathlib import Path

import msgspec

from gpt import events as ev
from gpt.config import decode, replace
from gpt.distributed import join
from gpt.trainer import Trainer

folder = Path(sys.argv[1])
profile = decode(msgspec.json.decode((folder / "profile.json").read_bytes()))
ranks = join()
for name, settings, checkpoint in zip(*[iter(sys.argv[2:])] * 3, strict=True):
    place = folder / name
    place.mkdir(exist_ok=True)
    said: list[ev.Event] = []
    resume = None if checkpoint == "-" else folder / checkpoint
    asked = replace(profile, msgspec.json.decode(settings))
    trainer = Trainer(asked, place, said.append, resume=resume, ranks=ranks)
    trainer.run()
    if ranks.is_first:
        (place / "events.jsonl").write_bytes(b"".join(map(ev.encode, said)))
    if trainer.failure:
        sys.exit(f"{name}, rank {ranks.rank}: {trainer.failure.error}")
ranks.close()
os._exit(0)  # as the program does: threads of the network may want the interpreter while it is taken down, and abort
