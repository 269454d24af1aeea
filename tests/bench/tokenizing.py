"""Tokens/s of `data prepare` with GPT-2's vocabulary, end to end to disk, against tiktoken's batch call in memory.

    python tests/bench/tokenizing.py TEXT... [--megabytes 64] [--repeats 3] [--workers N]

The same documents, in turns: ours reads JSON lines, encodes, writes shards with their hashes and dataset.json and waits
for the disk; tiktoken's `encode_ordinary_batch` only encodes what is already in memory, on as many threads. The texts
are repeated to so many megabytes and cut into documents of about 4,000 characters. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt.prepare_folder import prepare_folder
from gpt.preparing import Preparation
from gpt.tokenizer import Gpt2Tokenizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("texts", nargs="+", type=Path)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    text = "".join(path.read_text(encoding="utf-8") for path in options.texts)
    documents = [text[at : at + 4000] for at in range(0, len(text), 4000)]
    size = sum(len(document.encode()) for document in documents)
    documents *= max(1, options.megabytes * 10**6 // size)
    encoding = Gpt2Tokenizer()._encoding
    encoding.encode_ordinary_batch(documents[:100], num_threads=options.workers)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "documents.jsonl")
        with source.open("w") as file:
            file.writelines(json.dumps({"text": document}) + "\n" for document in documents)
        for repeat in range(options.repeats):
            start = time.perf_counter()
            # In portions: the ids of all documents as Python lists would not fit into memory.
            tokens = 0
            for at in range(0, len(documents), 2000):
                portion = encoding.encode_ordinary_batch(documents[at : at + 2000], num_threads=options.workers)
                tokens += sum(map(len, portion))
            theirs.append(tokens / (time.perf_counter() - start))
            start = time.perf_counter()
            dataset = prepare_folder(Preparation((str(source),), Path(folder, str(repeat))), workers=options.workers)
            made = sum(split.tokens for split in dataset.splits.values())
            ours.append(made / (time.perf_counter() - start))
            assert made == tokens + len(documents), "not the same tokens"
    ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
    result = {
        "documents": len(documents),
        "tokens": tokens,
        "workers": options.workers,
        "prepare_tokens_per_s": ours,
        "tiktoken_tokens_per_s": theirs,
        "ratios": ratios,
        "ratio": statistics.median(ratios),
    }
    sys.stdout.write(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
