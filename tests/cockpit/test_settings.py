"""The form of all settings: what it shows, what it lets be changed, and what it sends."""

from __future__ import annotations

from pathlib import Path

import pytest
from played_runs import FakeLink, Typed, finished_story, screen_text, shown_by, still_app, story

from cockpit.app import CockpitApp
from cockpit.writeback import WriteBack
from gpt import events as ev
from gpt.commands import At, SetConfig
from gpt.keys import all_keys
from gpt.live import LIVE_KEYS


def app_with(*events: ev.Event, file: WriteBack | None = None) -> tuple[CockpitApp, FakeLink]:
    link = FakeLink([*story(), *events])
    app = still_app(link)
    app.file = file
    return app, link


def changed(key: str, old: str, new: str, step: int = 900) -> list[ev.Event]:
    return [ev.CommandReceived(command="SetConfig", step=step), ev.ConfigChanged(step=step, key=key, old=old, new=new)]


async def test_every_key_is_listed_under_its_section_with_its_value_and_unit() -> None:
    app, _ = app_with()
    shown = await shown_by(app, ["l"], size=(200, 110))
    lines = [line.split("─")[0] for line in shown.splitlines()]
    assert [line.split()[0] for line in lines if line.startswith(" [")] == [
        f"[{name}]" for name in dict.fromkeys(key.section for key in all_keys() if key.section)
    ]
    for key in all_keys():
        fixed = " fixed" if key.key not in LIVE_KEYS else ""
        assert any(line.lstrip("▌ ").startswith(f"{key.name} ") and fixed in line for line in lines), key.key
    assert "warmup_steps 0 steps an integer ≥ 0" in shown and "vocab_size unset fixed" in shown


async def test_a_change_is_foretold_collected_and_sent_only_when_it_is_applied() -> None:
    app, link = app_with()
    shown = await shown_by(app, ["l", "enter", Typed("3e-4")])
    assert "rate at step 901 5.58e-4 → 2.79e-4" in shown and "rate at the end 6.00e-5 → 3.00e-5" in shown
    assert "a checkpoint is made first" not in shown and "▲ 900" in shown, "the schedule is drawn"
    app, link = app_with()
    shown = await shown_by(app, ["l", "enter", Typed("3e-3"), "enter", "down", "enter", Typed("1e-5"), "enter"])
    assert "learning_rate 0.0006 → 0.003 △ not applied" in shown and "min_lr unset → 1e-05 △ not applied" in shown
    assert "a checkpoint is made first: the learning rate rises" in shown
    assert link.sent == []
    app, link = app_with()
    shown = await shown_by(
        app, ["l", "enter", Typed("3e-3"), "enter", "down", "enter", Typed("1e-5"), "enter", "a", "enter"]
    )
    assert link.sent == [SetConfig(changes={"optim.learning_rate": 3e-3, "optim.min_lr": 1e-5})]
    assert "2 changes at the next step boundary" in shown and "not applied" not in shown


async def test_a_change_can_wait_for_a_named_step_and_its_effect_is_foretold_there() -> None:
    app, link = app_with()
    shown = await shown_by(app, ["l", "enter", Typed("3e-4"), "enter", "a", Typed("+1000")])
    assert "optim.learning_rate 0.0006 → 0.0003" in shown and "rate at step 1,901" in shown
    app, link = app_with()
    await shown_by(app, ["l", "enter", Typed("3e-4"), "enter", "a", Typed("4k"), "enter"])
    assert link.sent == [At(step=4000, what=SetConfig(changes={"optim.learning_rate": 3e-4}))]
    app, link = app_with()
    shown = await shown_by(app, ["l", "enter", Typed("3e-4"), "enter", "a", Typed("900"), "enter"])
    assert link.sent == [] and "step 900 has passed" in shown


@pytest.mark.parametrize("typed", ["-1", "fast", "nan", "0"])
async def test_a_value_that_will_not_do_says_why_and_is_not_taken(typed: str) -> None:
    app, _ = app_with()
    shown = await shown_by(app, ["l", "enter", Typed(typed), "enter"])
    assert "optim.learning_rate must be a number > 0" in shown and "not applied" not in shown
    assert "enter takes it" in shown, "the line stays, to be mended"


async def test_a_fixed_key_foretells_what_it_would_do_and_says_why_it_stays() -> None:
    app, _ = app_with()
    keys = ["l", "slash", Typed("micro_b"), "enter", "enter", Typed("24"), "enter"]
    shown = await shown_by(app, keys)
    assert "tokens per step 12,288 → 24,576" in shown and "memory, estimated" in shown
    assert "train.micro_batch_size stays 12: the step is built for it; stop, then --resume with it" in shown
    assert "not applied" not in shown


async def test_the_filter_finds_names_first_and_else_what_is_said_of_them() -> None:
    app, _ = app_with()
    shown = await shown_by(app, ["l", "slash", Typed("warm")])
    assert "warmup_steps" in shown and "min_lr" not in shown and "[model]" not in shown
    app, _ = app_with()
    assert "grad_clip" in await shown_by(app, ["l", "slash", Typed("gradient norm")])
    app, _ = app_with()
    assert "no key holds that" in await shown_by(app, ["l", "slash", Typed("zzz"), "enter", "enter", "a", "x"])
    app, _ = app_with()
    assert "min_lr" in await shown_by(app, ["l", "slash", Typed("warm"), "escape"]), "escape lists all again"


async def test_choices_are_gone_through_with_the_arrows() -> None:
    app, _ = app_with()
    shown = await shown_by(app, ["l", "slash", Typed("optim.sched"), "enter", "enter", "down", "down", "down", "enter"])
    assert 'schedule "cosine" → "wsd"' in shown


async def test_changed_keys_say_their_step_and_can_be_taken_back_and_again() -> None:
    changes = [*changed("optim.grad_clip", "1.0", "0.5"), *changed("optim.learning_rate", "0.0006", "0.0003")]
    app, link = app_with(*changes)
    shown = await shown_by(app, ["l"])
    assert "learning_rate 0.0003 ▲ step 900" in shown and "changed after step 900; it was 0.0006" in shown
    app, link = app_with(*changes)
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("u")
        assert link.sent == [SetConfig(changes={"optim.learning_rate": 0.0006})]
        link.deliver(*changed("optim.learning_rate", "0.0003", "0.0006", 901))
        app.frame(force=True)
        await pilot.press("l", "u")
        await pilot.pause()
    assert link.sent[1:] == [SetConfig(changes={"optim.grad_clip": 1.0})], "the form's u does the same"


async def test_u_says_so_where_nothing_was_changed_or_the_run_has_ended() -> None:
    quiet = FakeLink(story(300))  # before the story's own change
    assert "nothing to undo" in await shown_by(still_app(quiet), ["u"])
    assert "undo does nothing now" in await shown_by(still_app(FakeLink(finished_story())), ["u"])
    assert quiet.sent == []


async def test_escape_warns_once_of_changes_that_were_not_applied() -> None:
    app, link = app_with()
    keys = ["l", "enter", Typed("3e-4"), "enter", "escape"]
    shown = await shown_by(app, keys)
    assert "1 change not applied: a applies, esc again forgets" in shown
    app, link = app_with()
    assert "live settings" not in await shown_by(app, [*keys, "escape"])
    app, link = app_with()
    assert "live settings" not in await shown_by(app, [*keys[:-1], "x", "escape"]), "x drops it"
    assert link.sent == []


async def test_s_shows_the_difference_first_and_writes_only_what_the_pilot_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.toml")
    text = '[data]\nname = "python-stdlib"\n[optim]\nlearning_rate = 6e-4  # the usual\n'
    path.write_text(text)
    change = changed("optim.learning_rate", "0.0006", "0.0003")  # the story's own change is no pilot's
    app, _ = app_with(*change, file=WriteBack(path))
    shown = await shown_by(app, ["l", "s"])
    assert "Save to mine.toml?" in shown and "-learning_rate = 6e-4 # the usual" in shown
    assert "+learning_rate = 0.0003 # the usual" in shown and path.read_text() == text
    app, _ = app_with(*change, file=WriteBack(path))
    assert "saved optim.learning_rate to mine.toml" in await shown_by(app, ["l", "s", "enter"])
    assert path.read_text() == text.replace("6e-4", "0.0003")
    app, _ = app_with(*change, file=WriteBack(path))
    assert "the file says already what has been changed here" in await shown_by(app, ["l", "s"])


async def test_s_refuses_a_read_only_file_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.toml")
    path.write_text('[data]\nname = "python-stdlib"\n')
    path.chmod(0o444)
    change = changed("optim.learning_rate", "0.0006", "0.0003")
    app, _ = app_with(*change, file=WriteBack(path))
    assert "mine.toml cannot be written: it is read-only" in await shown_by(app, ["l", "s"])
    app, _ = app_with(*change)
    assert "no profile on disk to save to" in await shown_by(app, ["l", "s"])
    app, _ = app_with(file=WriteBack(path))
    assert "nothing has been changed here: nothing to save to mine.toml" in await shown_by(app, ["l", "s"])


async def test_after_the_end_the_form_shows_all_and_applies_nothing() -> None:
    link = FakeLink(finished_story())
    shown = await shown_by(still_app(link), ["l", "enter", Typed("3e-4"), "enter", "a"])
    assert "the run has ended: nothing can be applied any more" in shown
    assert link.sent == []


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (60, 18), (80, 24), (139, 30), (140, 12), (200, 50)])
async def test_the_form_stands_at_every_size(size: tuple[int, int]) -> None:
    app, _ = app_with()
    shown = await shown_by(app, ["l", "enter", Typed("3e-3"), "enter", "end", "home"], size=size)
    assert shown


async def test_a_click_on_a_key_moves_the_bar_and_one_more_edits() -> None:
    app, _ = app_with()
    async with app.run_test(size=(120, 35)) as pilot:
        await pilot.press("l")
        await pilot.pause()
        app.frame(force=True)
        await pilot.pause()

        def place() -> tuple[int, int]:
            lines = screen_text(app).splitlines()
            return 10, next(number for number, line in enumerate(lines) if "   min_lr" in line or "▌  min_lr" in line)

        await pilot.click(offset=place())
        await pilot.pause()
        assert "▌  min_lr" in screen_text(app) and "Rate after the decay" in screen_text(app)
        await pilot.click(offset=place())
        await pilot.pause()
        assert "enter takes it" in screen_text(app)
        await pilot.press(*"123456")
        await pilot.pause()
        line = screen_text(app).splitlines()[place()[1]]
        assert "123456" in line, "it stays in its row while the parts around it move"
