"""A byte-pair vocabulary of one's own, learned from texts by Hugging Face's `tokenizers`. No torch."""

from __future__ import annotations

from collections.abc import Iterable

from gpt.byte_letters import unspelled
from gpt.errors import DataError
from gpt.vocabulary import END_OF_TEXT, MAX_IDS, Vocabulary

LEAST_IDS = 258
"""All bytes, one pair and the end of a text."""
_PORTION_CHARS = 2**20


def train_vocabulary(texts: Iterable[str], vocab_size: int) -> Vocabulary:
    """The vocabulary of the most frequent byte pairs: 256 bytes, pairs by rank, `<|endoftext|>` above them.

    Texts are split as GPT-2 splits them, and only what they are split into is held in memory, each with its count. A
    pair that occurs once is not joined, so that little text may give fewer ids than `vocab_size`.

    Raises DataError for a size out of range, and where the package is missing.
    """
    if not LEAST_IDS <= vocab_size <= MAX_IDS:
        raise DataError(
            f"a vocabulary has {LEAST_IDS} to {MAX_IDS:,} ids, the end of a text included; got {vocab_size:,}"
        )
    try:
        from tokenizers import Tokenizer
        from tokenizers.models import BPE
        from tokenizers.pre_tokenizers import ByteLevel
        from tokenizers.trainers import BpeTrainer
    except ImportError:
        raise DataError("learning a vocabulary needs: pip install 'gpt-cockpit[tokenizer]'") from None

    learned = Tokenizer(BPE())
    learned.pre_tokenizer = ByteLevel(add_prefix_space=False)  # its pattern is GPT-2's
    trainer = BpeTrainer(
        vocab_size=vocab_size - 1, min_frequency=2, initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    learned.train_from_iterator((text.encode("utf-8", "replace").decode() for text in texts), trainer)
    by_id = sorted(learned.get_vocab().items(), key=lambda item: item[1])
    pairs = [unspelled(token) for token, _ in by_id if len(token) > 1]
    tokens = [bytes((byte,)) for byte in range(256)] + pairs  # single bytes are never joined from anything: any order
    return Vocabulary(tokens, special={END_OF_TEXT: len(tokens)})
