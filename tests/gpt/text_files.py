"""The same documents in each kind of file that holds texts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

DOCUMENTS = [f"Document {i}.\n" + "naïve 木 words " * (i % 7) + f"\nend of {i}" for i in range(200)]


def jsonl(path: Path, documents: list[str] = DOCUMENTS) -> Path:
    content = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(documents)).encode()
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".zst":
        content = pytest.importorskip("zstandard").ZstdCompressor().compress(content)
    path.write_bytes(content)
    return path


def fineweb(path: Path, documents: list[str], rows_a_group: int = 50) -> Path:
    """A parquet file with FineWeb's columns."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    n = len(documents)
    table = pyarrow.table({
        "text": documents,
        "id": [f"<urn:uuid:{i}>" for i in range(n)],
        "dump": ["CC-MAIN-2024-10"] * n,
        "url": [f"https://example.org/{i}" for i in range(n)],
        "date": ["2024-02-20T00:00:00Z"] * n,
        "file_path": ["s3://commoncrawl/x.warc.gz"] * n,
        "language": ["en"] * n,
        "language_score": [0.9] * n,
        "token_count": [len(text.split()) for text in documents],
    })  # fmt: skip
    parquet.write_table(table, path, row_group_size=rows_a_group)
    return path
