"""The doctor on the screen: the line and the counts on the main one, the cards, and what they do."""

from __future__ import annotations

import functools
import re
from itertools import pairwise
from pathlib import Path

import pytest
from played_runs import FakeLink, Typed, finished_story, screen_text, still_app, story
from played_runs import shown_by as shown_after

from cockpit.app import CockpitApp
from cockpit.doctor import rounds
from cockpit.doctor.diagnosis import Diagnosis, Severity, Treatment
from cockpit.forking import Fork
from cockpit.options import ScreenOptions
from cockpit.places import places
from cockpit.writeback import WriteBack
from gpt import events as ev
from gpt.commands import Command, Evaluate, SetConfig


def found(rule: str, severity: Severity = "warning", treatment: Treatment | None = None, title: str = "") -> Diagnosis:
    return Diagnosis(
        rule, severity, title or f"what {rule} found",
        {"tokens_per_parameter": 61.5, "tokens": 7_600_000_000, "n_embd": 384},
        f"why {rule}", f"advice of {rule}", treatment, f"source of {rule}",
    )  # fmt: skip


def made(rule: str, severity: str = "warning", step: int = 800, title: str = "") -> ev.Event:
    return ev.DiagnosisMade(step=step, rule=rule, severity=severity, title=title or f"what {rule} found")


@pytest.fixture
def ward(monkeypatch: pytest.MonkeyPatch) -> list[Diagnosis]:
    """What every examination finds; a test puts it in."""
    findings: list[Diagnosis] = []
    monkeypatch.setattr(rounds, "look", lambda evidence: (list(findings), {}))
    return findings


def app_with(*events: ev.Event, ended: bool = False) -> tuple[CockpitApp, FakeLink]:
    link = FakeLink([*(finished_story() if ended else story()), *events])
    return still_app(link), link


shown_by = functools.partial(shown_after, size=(120, 40), waits={"d": 0.12})  # the doctor answers a little later

# The main screen


async def test_one_line_says_the_worst_and_how_many_more_and_the_header_counts_them() -> None:
    app, _ = app_with(made("a", title="saturated: 61 tokens per parameter"), made("b", "critical"), made("c", "note"))
    lines = (await shown_by(app, [])).splitlines()
    (line,) = [line for line in lines if "d why, and what to do" in line]
    assert line.startswith(" × what b found") and "and 1 more d why" in line
    assert "×1 !1 RUNNING" in lines[0]
    assert "space pause" in lines[lines.index(line) + 2], "the notice and the keys stay below it"


async def test_notes_alone_take_no_room_and_what_ended_gives_it_back() -> None:
    quiet = await shown_by(app_with()[0], [])
    assert "what to do" not in await shown_by(app_with(made("a", "note"))[0], [])
    app, link = app_with(made("a"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        before = app.main.chart.size.height
        link.deliver(ev.DiagnosisEnded(step=900, rule="a"))
        app.frame(force=True)
        await pilot.pause()
        assert app.main.chart.size.height == before + 1
        assert "what to do" not in screen_text(app)
    assert "!1" not in quiet


async def test_a_message_and_the_end_of_a_run_leave_the_line_where_it_is() -> None:
    app, _ = app_with(made("a"), ended=True)
    lines = (await shown_by(app, [])).splitlines()
    assert "what a found" in lines[-3] and "all steps done" in lines[-2]


def test_the_line_stands_above_the_notice_where_there_is_room_for_both() -> None:
    for columns in (24, 60, 80, 120, 200, 250):
        for rows in range(5, 60):
            with_it, without = places(columns, rows, doctor=1), places(columns, rows)
            if line := with_it.get("doctor"):
                assert line.height == 1 and line.bottom == with_it["notice"].y
            for parts in (with_it, without):
                regions = sorted(parts.values(), key=lambda region: (region.y, region.x))
                assert all(not one.overlaps(other) for one, other in pairwise(regions))
            assert ("doctor" in with_it) == (rows >= 10), rows
            assert "doctor" not in without


async def test_a_click_on_the_line_opens_the_cards(ward: list[Diagnosis]) -> None:
    ward.append(found("a"))
    app, _ = app_with(made("a"))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.click("#doctor")
        await pilot.pause(0.12)
        assert "advice of a" in screen_text(app)


# The cards


async def test_a_card_says_what_why_what_to_do_and_on_which_figures(ward: list[Diagnosis]) -> None:
    ward += [found("a", "critical"), found("b")]
    app, _ = app_with(made("a", "critical", 700))
    shown = await shown_by(app, ["d"])
    assert "▌ × critical what a found a since step 700" in shown
    for text in ("why why a", "do advice of a", "tokens per parameter 61.5", "tokens 7,600,000,000", "n_embd 384"):
        assert text in shown, text
    assert "from source of a" in shown and " ! warning what b found" in shown
    assert "sound model_size" in shown, "what was looked at and found in order"


async def test_arrows_move_and_the_chosen_card_is_seen_whole(ward: list[Diagnosis]) -> None:
    ward += [found(f"rule_{letter}") for letter in "abcdefgh"]
    app, _ = app_with()
    shown = await shown_by(app, ["d", *["down"] * 5], size=(100, 20))
    assert "▌ ! warning what rule_f found" in shown and "source of rule_f" in shown
    app, _ = app_with()
    shown = await shown_by(app, ["d", *["down"] * 5, "up", "home"], size=(100, 20))
    assert "▌ ! warning what rule_a found" in shown and "rule_f" not in shown
    app, _ = app_with()
    assert "sound" in await shown_by(app, ["d", "end", *["down"] * 9], size=(100, 20)), "what is below the last"


async def test_a_card_stays_chosen_when_another_comes_before_it(ward: list[Diagnosis]) -> None:
    ward += [found("a"), found("b")]
    app, link = app_with()
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.press("d")
        await pilot.pause(0.12)
        await pilot.press("down")
        ward.insert(0, found("new", "critical"))
        app.screen._asked_at = -100.0  # type: ignore[attr-defined]
        link.deliver(ev.EvalDone(step=901, train_loss=1.0, val_loss=1.0, seconds=1.0, best=False))
        app.frame(force=True)
        await pilot.pause(0.2)
        app.frame(force=True)
        await pilot.pause()
        shown = screen_text(app)
    assert "what new found" in shown and "▌ ! warning  what b found" in shown


async def test_where_nothing_is_found_it_says_what_was_looked_at(ward: list[Diagnosis]) -> None:
    shown = await shown_by(app_with()[0], ["d", "enter", "z"])
    assert "nothing found" in shown and "model_size" in shown and "there is nothing to silence" in shown


@pytest.mark.parametrize("size", [(1, 1), (20, 5), (60, 18), (80, 24), (200, 50)])
async def test_the_cards_stand_at_every_size(ward: list[Diagnosis], size: tuple[int, int]) -> None:
    ward += [found("a"), found("b", treatment=Treatment("live", "clip less", {"optim.grad_clip": 2.0}))]
    app, _ = app_with(made("a"))
    assert await shown_by(app, ["d", "down", "pagedown", "pageup"], size=size)


async def test_what_a_rule_writes_cannot_reach_the_terminal(ward: list[Diagnosis]) -> None:
    ward.append(found("a", title="\x1b]52;c;aGk=\x07 bad"))
    app, _ = app_with(made("a", title="\x1b]52;c;aGk=\x07 bad"))
    assert "\x1b" not in await shown_by(app, ["d"]) + await shown_by(app_with(made("a", title="\x1b[2J"))[0], [])


# What they do


async def sent_by(treatment: Treatment | None, *keys: str, ended: bool = False) -> tuple[str, list[Command]]:
    app, link = app_with(made("a"), ended=ended)
    return await shown_by(app, ["d", *keys]), link.sent


async def test_a_live_change_is_shown_as_the_settings_form_shows_it_and_then_sent(ward: list[Diagnosis]) -> None:
    treatment = Treatment("live", "halve the rate", {"optim.learning_rate": 3e-3})
    ward.append(found("a", treatment=treatment))
    shown, sent = await sent_by(treatment)
    assert "enter halve the rate: optim.learning_rate = 0.003 while the run goes on" in shown and sent == []
    shown, sent = await sent_by(treatment, "enter")
    assert "Apply 1 change?" in shown and "optim.learning_rate 0.0006 → 0.003" in shown
    assert "a checkpoint is made first: the learning rate rises" in shown and sent == []
    _, sent = await sent_by(treatment, "enter", "enter")
    assert sent == [SetConfig(changes={"optim.learning_rate": 3e-3})]
    shown, sent = await sent_by(treatment, "enter", "escape")
    assert sent == [] and "what a found" in shown
    shown, sent = await sent_by(treatment, "enter", ended=True)
    assert "the run has ended: nothing can be applied" in shown and sent == []


async def test_a_change_that_does_not_hold_here_is_refused_in_words(ward: list[Diagnosis]) -> None:
    ward.append(found("a", treatment=Treatment("live", "nonsense", {"optim.learning_rate": -1.0})))
    shown, sent = await sent_by(None, "enter")
    assert "this cannot be done here: " in shown and "learning_rate" in shown and sent == []


async def test_a_new_profile_is_shown_whole_before_it_is_written_beside_the_old_one(
    ward: list[Diagnosis], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path("mine.toml")
    path.write_text('[data]\nname = "python-stdlib"\n[model]\nn_embd = 384\nn_head = 6\n')
    ward.append(found("a", treatment=Treatment("profile", "build 124M", {"model.n_embd": 768, "model.n_head": 12})))

    async def shown(*keys: str) -> str:
        app, _ = app_with()
        app.file = WriteBack(path)
        return await shown_by(app, ["d", *keys])

    text = await shown("enter")
    assert "Write mine-fixed.toml?" in text and 'extends = "mine.toml"' in text and "n_embd = 768 # was 384" in text
    assert not Path("mine-fixed.toml").exists()
    text = await shown("enter", "enter")
    assert "wrote mine-fixed.toml; gpt-cockpit mine-fixed.toml starts a run with it" in text
    assert "n_embd = 768" in Path("mine-fixed.toml").read_text() and "768" not in path.read_text()
    assert "Write mine-fixed-2.toml?" in await shown("enter"), "what is there is never written over"
    app, _ = app_with()
    assert "no profile on disk" in await shown_by(app, ["d", "enter"])


async def test_a_fork_says_what_it_has_set_otherwise_and_leaves_for_it(ward: list[Diagnosis]) -> None:
    ward.append(found("a", treatment=Treatment("fork", "fork without dropout", {"model.dropout": 0.1})))
    app, _ = app_with()
    shown = await shown_by(app, ["d", "enter"])
    assert "Fork a new run from step 900?" in shown and "model.dropout 0.0 → 0.1" in shown
    app, _ = app_with()
    await shown_by(app, ["d", "enter", Typed("dry"), "enter"])
    assert app.fork == Fork(None, "dry", ("model.dropout=0.1",))


async def test_a_command_says_what_it_does_first(ward: list[Diagnosis]) -> None:
    ward.append(found("a", treatment=Treatment("command", "evaluate on all of it", action="evaluate")))
    shown, sent = await sent_by(None, "enter")
    assert "Evaluate on all of it?" in shown and "Estimate train and validation loss now" in shown and sent == []
    shown, sent = await sent_by(None, "enter", "enter")
    assert sent == [Evaluate()] and "space pause" in shown, "back on the main screen"
    shown, sent = await sent_by(None, "enter", ended=True)
    assert "cannot be done now" in shown and sent == []


async def test_z_asks_for_a_reason_and_silences_the_rule_in_the_settings(ward: list[Diagnosis]) -> None:
    ward.append(found("a"))
    shown, sent = await sent_by(None, "z", "enter")
    assert "Silence a in this run?" in shown and sent == [], "not without a reason"
    shown, _ = await sent_by(None, "z", Typed("a test"))
    assert 'silence = ["a: a test"]' in shown
    _, sent = await sent_by(None, "z", Typed("a test"), "enter")
    assert sent == [SetConfig(changes={"doctor.silence": ["a: a test"]})]
    shown, sent = await sent_by(None, "z", ended=True)
    assert '[doctor] silence = ["a: why"]' in shown and sent == []


async def test_what_is_silenced_is_listed_with_its_reason_and_others_stay_silenced(ward: list[Diagnosis]) -> None:
    ward.append(found("a"))
    silence = ev.ConfigChanged(step=900, key="doctor.silence", old="[]", new='["b: shrunk for a test"]')
    app, link = app_with(silence)
    shown = await shown_by(app, ["d", "z", Typed("why not"), "enter"])
    assert re.search(r"silenced b +shrunk for a test", shown)
    assert link.sent == [SetConfig(changes={"doctor.silence": ["b: shrunk for a test", "a: why not"]})]


async def test_who_only_watches_changes_nothing(ward: list[Diagnosis]) -> None:
    ward.append(found("a", treatment=Treatment("fork", "fork", {"model.dropout": 0.1})))
    for key in ("enter", "z"):
        link = FakeLink(story())
        app = still_app(link)
        app.options = ScreenOptions(readonly=True)
        assert "this screen only watches (--readonly or --watch)" in await shown_by(app, ["d", key])
        assert link.sent == [] and app.fork is None


async def test_a_long_title_is_cut_on_the_line_only_where_all_else_has_given_way(ward: list[Diagnosis]) -> None:
    title = "saturated: 61 tokens per parameter; the last 4,573 steps are worth 0.012 nats"
    ward.append(found("a", title=title))
    app, _ = app_with(made("a", title=title), made("b"))
    assert f" ! {title} and 1 more d why, and what to do" in await shown_by(app, [])
    app, _ = app_with(made("a", title=title), made("b"))
    assert f" ! {title} and 1 more d why \n" in await shown_by(app, [], size=(100, 30))
    app, _ = app_with(made("a", title=title), made("b"))
    assert "… +1 d" in await shown_by(app, [], size=(80, 24))
    app, _ = app_with(made("a", title=title))
    card = await shown_by(app, ["d"], size=(60, 24))
    assert title in card.replace("\n▌ ", "").replace("  ", " "), "a card has it whole"
