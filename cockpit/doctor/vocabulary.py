"""Vocabulary and data: rows that GPUs multiply slowly, a tokenizer or an encoding that is not the data's, validation
from training."""

from __future__ import annotations

from collections.abc import Iterator

from cockpit.doctor.device import device_type
from cockpit.doctor.diagnosis import Diagnosis, Rule, Scalar, Treatment
from cockpit.doctor.evidence import Evidence

MULTIPLE = 128
"""Rows of a whole tile of the head's matrix product on every card since Volta."""
ENOUGH = 64
"""A multiple of this is fast already (NVIDIA, Matrix Multiplication Background: 64 elements of 16 bits)."""
LARGE = 4096
"""Rows from which on the head is a part of the step that counts."""
BYTES = 256
"""Ids of a tokenizer of bytes; data of a larger one holds others among its first thousands of tokens."""
LOOKED_AT = 50_000
"""Tokens that must have been looked at to say what does not occur."""
UNUSED = 2.0
"""Times its tokenizer's ids that a vocabulary may have rows."""
LOST = 1e-3
"""Share of a text's characters that are no UTF-8, from which on it is in another encoding; a stray byte is in many."""
COPIED, WHOLE = 0.1, 0.5
"""Share of validation's stretches found in training, from which on it is a part of it, and about all of it. Sets
of web text share some per cent, duplicates that nobody meant (Lee et al. 2022: over 4 % of the usual ones)."""


def find_padding(evidence: Evidence) -> Iterator[Diagnosis]:
    """A large vocabulary that is no multiple of 64, on CUDA."""
    profile, rows = evidence.profile, evidence.rows
    if profile is None or rows is None or rows < LARGE or device_type(evidence) != "cuda" or not rows % ENOUGH:
        return
    if profile.model.init_from != "scratch":
        return  # its weights decide
    padded = -(-rows // MULTIPLE) * MULTIPLE
    began = evidence.state.started is not None
    yield Diagnosis(
        rule="vocabulary_padding", severity="note" if began else "warning",
        title=f"{rows:,} rows of vocabulary, no multiple of {ENOUGH}",
        evidence={"vocab_size": rows, "padded": padded, "remainder": rows % MULTIPLE},
        why=f"The head multiplies by a matrix of {rows:,} columns. Tensor cores work in tiles; so odd a number leaves "
        "the fast kernels out, in the largest product of the step and in both of its gradients.",
        advice=f"Set model.vocab_size = {padded}, {padded // MULTIPLE} × {MULTIPLE}"
        + (", in the next run: it shapes the weights." if began else ". The rows beyond are never drawn."),
        treatment=Treatment("profile", "pad the vocabulary", {"model.vocab_size": padded}),
        reference="NVIDIA, Matrix Multiplication Background User's Guide, section 4; nanoGPT pads 50257 to 50304",
    )  # fmt: skip


def find_tokenizer(evidence: Evidence) -> Iterator[Diagnosis]:
    """Data that a run would refuse, or that another tokenizer has made than the one it is read with."""
    profile, data = evidence.profile, evidence.data
    if profile is None or data is None:
        return
    rows, known, name = evidence.rows, data.tokenizer_vocab, data.tokenizer
    figures: dict[str, Scalar] = {
        "tokenizer": name, "tokenizer_vocab": known, "vocab_size": rows, "largest_id": data.largest_id,
        "tokens_looked_at": data.ids_looked_at,
    }  # fmt: skip
    refused = data.complaint if not evidence.began else None
    looked = data.largest_id is not None and data.ids_looked_at >= LOOKED_AT
    severity, treatment = "critical", None
    if refused:
        title, why = "this data and these settings do not go together", f"{refused}."
        advice = "Set data.tokenizer or model.vocab_size to what the data was made with, or prepare it anew."
    elif known and data.largest_id is not None and data.largest_id >= known:
        title = f"the data holds id {data.largest_id:,}, {name} has {known:,}"
        why = f"The {name} tokenizer cannot have made these tokens: its ids end at {known - 1:,}."
        advice = "Set data.tokenizer to what the data was made with; samples and bits per byte are wrong otherwise."
    elif looked and known and known > LARGE and data.largest_id is not None and data.largest_id < BYTES:
        title = f"no id above {data.largest_id}, but the tokenizer is {name}"
        why = f"In {data.ids_looked_at:,} tokens of text {name} makes ids of many thousands. These are bytes or "
        why += (
            "characters: what is sampled would be spelt with other tokens, and most rows of the embedding are unused."
        )
        advice = 'Set data.tokenizer = "byte" (or "char", with a meta.pkl beside the data), or prepare the text anew.'
    elif known and rows and rows > UNUSED * known and rows - known > MULTIPLE:
        severity, padded = "warning", -(-known // ENOUGH) * ENOUGH
        title = f"{rows:,} rows of vocabulary for {known:,} tokens"
        why = f"{rows - known:,} rows of the embedding belong to no token of {name}: they take memory and time in the "
        why += "head, and the loss begins higher by having to learn that they never come."
        advice = f"Leave model.vocab_size out, or set it to {padded}."
        treatment = Treatment("profile", "as many rows as tokens", {"model.vocab_size": padded})
    else:
        return
    yield Diagnosis(
        rule="tokenizer", severity=severity, title=title, evidence=figures, why=why, advice=advice,
        treatment=treatment, reference="the first tokens of both splits, and what dataset.json or meta.pkl says",
    )  # fmt: skip


def find_encoding(evidence: Evidence) -> Iterator[Diagnosis]:
    """A text in another encoding than UTF-8."""
    data = evidence.data
    if data is None or not data.unreadable or data.unreadable < LOST * data.characters:
        return
    yield Diagnosis(
        rule="encoding", severity="warning",
        title=f"{data.unreadable:,} characters of the text are no UTF-8",
        evidence={"unreadable": data.unreadable, "characters": data.characters,
                  "share": data.unreadable / data.characters},
        why="Each of them is read as U+FFFD, the sign for what cannot be read. Where they are letters, such as é in "
        "Latin-1, the model learns that one sign in the place of all of them, and writes it.",
        advice="Convert the text first, e.g. iconv -f LATIN1 -t UTF-8 FILE > NEW.",
        reference="The Unicode Standard, section 3.9: U+FFFD substitution of ill-formed subsequences",
    )  # fmt: skip


def find_same_data(evidence: Evidence) -> Iterator[Diagnosis]:
    """Validation whose files or stretches stand in training too."""
    data = evidence.data
    if data is None:
        return
    share = data.shared
    if not data.same_files and share < COPIED:
        return
    files = ", ".join(data.same_files[:3])
    unit = "bytes" if data.largest_id is None else "tokens"
    yield Diagnosis(
        rule="same_data", severity="critical" if data.same_files or share >= WHOLE else "warning",
        title=f"validation is part of training: {files}" if files
        else f"{100 * share:.0f} % of validation stands in training too",
        evidence={"share": share, "windows": data.windows, "window": data.window, "same_files": files or None},
        why=(f"These files have the same content: {files}. " if files
             else f"Stretches of {data.window} {unit} were looked for in both splits. ")
        + "Validation loss then falls with training loss, however much is only learnt by heart: overfitting stays "
        "unseen, and the best checkpoint is not.",
        advice="Split the text before it is tokenized, free it of duplicates, and prepare both parts anew "
        "(gpt-cockpit data prepare keeps them apart).",
        reference="Lee et al. 2022, arXiv 2107.06499: what repeated text does to a validation loss",
    )  # fmt: skip


RULES = (
    Rule("vocabulary_padding", "a vocabulary that is no multiple of 64, on CUDA", find_padding),
    Rule("tokenizer", "data that another tokenizer has made", find_tokenizer),
    Rule("encoding", "text in another encoding than UTF-8", find_encoding),
    Rule("same_data", "the same text in training and validation", find_same_data),
)
