"""A real sshd on this machine for one test: keys and all in a folder of the test's own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import put_program

from tests.patience import PATIENCE

SSHD = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin:/opt/homebrew/sbin") or shutil.which("sshd")
_MISSING = [name for name in ("ssh", "ssh-keygen") if not shutil.which(name)] + ([] if SSHD else ["sshd"])
needs_ssh = pytest.mark.skipif(bool(_MISSING), reason=f"not installed here: {', '.join(_MISSING)}")


class Login(NamedTuple):
    """How to log in to the test's sshd."""

    host: str
    ssh: str
    program: str


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Login]:
    """An sshd that lets in whoever runs the test, and nobody else; skips the test where it does not come to that.

    Args:
        folder: made for its files.
    """
    folder.mkdir(mode=0o700)
    for name in ("host", "mine"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/mine.pub\nPidFile none\n"
        "StrictModes no\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    known = folder / "known"
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    if os.getuid() == 0:
        with contextlib.suppress(OSError):
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # root's sshd wants it, and its service would make it
    said = folder / "said"
    with said.open("wb") as log:
        sshd = subprocess.Popen([SSHD or "sshd", "-D", "-e", "-f", str(folder / "config")], stderr=log)
    ssh = [
        "ssh", "-F", "none", "-p", str(port), "-i", str(folder / "mine"), "-o", f"UserKnownHostsFile={known}",
        "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
    ]  # fmt: skip
    host = f"{getpass.getuser()}@127.0.0.1"
    try:
        end = time.monotonic() + PATIENCE
        while subprocess.run([*ssh, host, "true"], capture_output=True).returncode:
            if sshd.poll() is not None or time.monotonic() > end:
                pytest.skip(f"sshd does not serve this user: {said.read_text()[-300:]}")
            time.sleep(0.1)
        yield Login(host, shlex.join(ssh), str(put_program(folder)))
    finally:
        sshd.kill()
        sshd.wait()
