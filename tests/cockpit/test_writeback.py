"""Settings saved to the profile's file: comments kept, nothing else touched, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cockpit import profile as profiles
from cockpit.writeback import WriteBack
from gpt.errors import ProfileError

BASE = """\
[data]
name = "python-stdlib"
[optim]
decay_steps = 900   # of the base
learning_rate = 6e-4
"""

TEXT = """\
# What this is for.
extends = "base.toml"

[train]
max_steps = 2_000         # enough
eval_steps=20   # quick

# About the optimizer.
[optim]
weight_decay = 0.1

# The end.
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "base.toml").write_text(BASE)
    path = tmp_path / "mine.toml"
    path.write_text(TEXT)
    return path


def test_only_the_changed_lines_differ_and_comments_stay(file: Path) -> None:
    told: list[dict] = []
    back = WriteBack(file, told.append)
    draft = back.draft({"train.eval_steps": 40, "optim.learning_rate": 0.002, "checkpoint.keep": 5})
    assert file.read_text() == TEXT, "a draft writes nothing"
    wanted = TEXT.replace("eval_steps=20 ", "eval_steps=40 ")
    wanted = wanted.replace("weight_decay = 0.1\n", "weight_decay = 0.1\nlearning_rate = 0.002\n")
    assert draft.after == f"{wanted}\n[checkpoint]\nkeep = 5\n"
    assert {line for line in draft.difference if line[0] in "+-"} == {
        "-eval_steps=20   # quick", "+eval_steps=40   # quick", "+learning_rate = 0.002", "+", "+[checkpoint]",
        "+keep = 5",
    }  # fmt: skip
    back.write(draft)
    assert file.read_text() == draft.after
    settings = profiles.load(file).profile
    assert (settings.optim.learning_rate, settings.checkpoint.keep, settings.train.eval_steps) == (0.002, 5, 40)
    assert told[0]["optim.learning_rate"] == 0.002, "whoever resumes takes it for no new edit"
    assert back.pending({"optim.learning_rate": 0.002, "sample.seed": 9}) == {"sample.seed": 9}


def test_unset_removes_the_line_and_is_refused_where_it_is_inherited(file: Path) -> None:
    back = WriteBack(file)
    file.write_text(TEXT.replace("weight_decay = 0.1", "min_lr = 1e-5  # low"))
    assert "min_lr" not in back.draft({"optim.min_lr": None}).after
    with pytest.raises(ProfileError, match=r"mine\.toml inherits optim\.decay_steps and cannot say that it is unset"):
        back.draft({"optim.decay_steps": None})


def test_what_would_not_do_in_the_file_is_refused(file: Path) -> None:
    with pytest.raises(ProfileError, match=r"is above optim\.learning_rate"):
        WriteBack(file).draft({"optim.min_lr": 0.5})


def test_a_file_without_any_write_permission_is_refused_before_anything_is_shown(file: Path) -> None:
    file.chmod(0o444)
    with pytest.raises(ProfileError, match=r"mine\.toml cannot be written: it is read-only; the run keeps") as refused:
        WriteBack(file).draft({"train.eval_steps": 40})
    assert "\n" not in str(refused.value)


def test_a_file_that_changed_meanwhile_is_left_alone(file: Path) -> None:
    back = WriteBack(file)
    draft = back.draft({"train.eval_steps": 40})
    file.write_text(TEXT + "# more\n")
    with pytest.raises(ProfileError, match="has changed on disk since"):
        back.write(draft)
    assert file.read_text() == TEXT + "# more\n"


def test_a_write_that_fails_leaves_the_file_and_no_litter(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back = WriteBack(file)
    draft = back.draft({"train.eval_steps": 40})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ProfileError, match="No space left on device"):
        back.write(draft)
    assert file.read_text() == TEXT
    assert sorted(path.name for path in file.parent.iterdir()) == ["base.toml", "mine.toml"]


def test_a_link_stays_a_link_and_a_mode_stays(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(file)
    file.chmod(0o640)
    back = WriteBack(link)
    back.write(back.draft({"train.eval_steps": 40}))
    assert link.is_symlink() and "eval_steps=40" in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o640
