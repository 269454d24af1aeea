"""Sets known by name, fetched by the real client of the hub from a small one on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from gpt.prepare_folder import prepare_folder
from gpt.preparing import Preparation

arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
pytest.importorskip("huggingface_hub")

COMMIT = "c0ffee" + "0" * 34
REPOSITORY = "roneneldan/TinyStories"


class Hub(BaseHTTPRequestHandler):
    """What the client asks of a hub: the commit of a branch, the files in it, a file."""

    files: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.asked.append(f"{self.command} {path}")
        if path == f"/api/datasets/{REPOSITORY}":
            self._send(json.dumps({"id": REPOSITORY, "sha": COMMIT, "siblings": []}).encode())
        elif path.startswith(f"/api/datasets/{REPOSITORY}/tree/{COMMIT}"):
            entries = [
                {"type": "file", "path": f"data/{file.name}", "oid": "0" * 40, "size": file.stat().st_size}
                for file in self.files.iterdir()
            ]
            self._send(json.dumps([{"type": "directory", "path": "data", "oid": "0" * 40}, *entries]).encode())
        elif path.startswith(f"/datasets/{REPOSITORY}/resolve/{COMMIT}/data/"):
            self._send((self.files / Path(path).name).read_bytes(), etag=True)
        else:
            self.send_error(404)

    def _send(self, content: bytes, *, etag: bool = False) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Repo-Commit", COMMIT)
        if etag:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *_: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[tuple[str, type[Hub]]]:
    """(address, what it holds and was asked): two files of stories for training and one for validation."""
    files = tmp_path / "hub"
    files.mkdir()
    for number in range(2):
        texts = [f"Once upon a time, story {story} of {number}.\n" * (story + 1) for story in range(30)]
        parquet.write_table(arrow.table({"text": texts}), files / f"train-0000{number}-of-00002.parquet")
    parquet.write_table(arrow.table({"text": ["not this one"]}), files / "validation-00000-of-00001.parquet")
    handler = type("OwnHub", (Hub,), {"files": files, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", handler
    server.shutdown()
    server.server_close()


def test_a_name_is_fetched_prepared_and_let_go(hub: tuple[str, type[Hub]], tmp_path: Path) -> None:
    address, handler = hub
    command = [sys.executable, "-m", "cockpit", "data", "prepare", "tinystories", "--tokenizer", "byte"]
    own = {
        "HF_ENDPOINT": address,
        "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
    done = subprocess.run(
        [*command, "--val", "0.1", "--out", str(tmp_path / "out")], env=os.environ | own, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
    fetched = [asked.rpartition("/")[2] for asked in handler.asked if asked.startswith("GET /datasets/")]
    assert fetched == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert not list((tmp_path / "out").rglob("*.parquet"))
    (handler.files / "validation-00000-of-00001.parquet").unlink()
    prepare_folder(Preparation((str(handler.files),), tmp_path / "local", "byte", "0.1"))
    for name in ("train_000000.bin", "val_000000.bin"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "local" / name).read_bytes()
