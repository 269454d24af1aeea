"""Where torch keeps what it has compiled: apart for each kind of processor.

torch finds compiled code again by the graph, not by the processor that it was written for (2.13.0). Loops written for
registers of 512 bits and built again for 256 leave half of each tensor as it was; the other way round they write past
its end. So it goes where machines share a folder, where one is moved to another host, and where it is told to keep to
other instructions.
"""

from __future__ import annotations

import os
from pathlib import Path

from gpt import processor

_FOLDER = "TORCHINDUCTOR_CACHE_DIR"


def keep_apart() -> Path:
    """Has this process, and those it starts, keep compiled code in a folder for this kind of processor.

    It lies in the folder that the environment names, or in torch's own. To be called before anything is compiled;
    calling it again changes nothing.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir  # not loaded for runs that do without

    folder = Path(os.environ.get(_FOLDER) or default_cache_dir()).absolute()
    if folder.name != processor.kind():
        folder /= processor.kind()
        os.environ[_FOLDER] = str(folder)
    return folder
