"""What the screen knows of changes and of the agenda, from events alone."""

from __future__ import annotations

from cockpit.pilotage import Pilotage, steered
from gpt import events as ev


def after(*events: ev.Event) -> Pilotage:
    known = Pilotage()
    for event in events:
        known = steered(known, event)
    return known


def command(*changes: tuple[str, str, str], step: int = 5) -> list[ev.Event]:
    made = [ev.ConfigChanged(step=step, key=key, old=old, new=new) for key, old, new in changes]
    return [ev.CommandReceived(command="SetConfig", step=step), *made]


RATE, FLOOR = ("optim.learning_rate", "0.001", "0.002"), ("optim.min_lr", "unset", "0.0005")


def back(change: tuple[str, str, str]) -> tuple[str, str, str]:
    key, old, new = change
    return key, new, old


def test_what_one_command_changed_is_taken_back_together_and_what_came_before_it_next() -> None:
    known = after(*command(("train.eval_steps", "20", "40")), *command(RATE, FLOOR))
    settings = {"optim.learning_rate": 0.002, "optim.min_lr": 0.0005, "train.eval_steps": 40}
    assert [change.key for change in known.last(settings)] == ["optim.learning_rate", "optim.min_lr"]
    for event in command(back(RATE), back(FLOOR), step=9):
        known = steered(known, event)
    assert [change.key for change in known.last(settings)] == ["train.eval_steps"]
    assert known.net.keys() == {"train.eval_steps"}


def test_a_change_that_something_else_has_overtaken_is_not_taken_back() -> None:
    known = after(*command(RATE))
    assert known.last({"optim.learning_rate": 0.002}) and known.last({"optim.learning_rate": 0.0007}) == ()


def test_the_net_change_is_from_the_first_value_to_the_last_with_its_step() -> None:
    known = after(*command(RATE), *command(("optim.learning_rate", "0.002", "0.003"), step=8))
    (change,) = known.net.values()
    assert (change.old, change.new, change.step) == ("0.001", "0.003", 8)
    known = after(*command(RATE), *command(FLOOR), *command(back(RATE), step=8))
    assert known.net.keys() == {"optim.min_lr"}, "what has come back to its first value is no change"


def test_what_the_guard_changes_in_a_rewind_is_not_the_pilots() -> None:
    gentler = ev.ConfigChanged(step=4, key="optim.learning_rate", old="0.002", new="0.001")
    known = after(*command(FLOOR), ev.Resumed(step=4, exact=False), gentler)
    assert known.net.keys() == {"optim.min_lr"}


def test_a_resume_forgets_what_was_changed_after_its_checkpoint() -> None:
    started = dict(
        run="r", profile="p", max_steps=9, parameters=1, parameters_without_positions=1, block_size=1, vocab_size=1,
        micro_batch_size=1, grad_accum_steps=1, tokens_per_step=1, tokenizer="byte", train_tokens=1, val_tokens=1,
        device="d", device_type="cpu", dtype="float32", compiled=False, flops_per_token=1.0, pid=1, versions="v",
    )  # fmt: skip
    waits = ev.CommandScheduled(item=1, step=3, what="save", when="at step 9", at_step=9)
    known = after(*command(FLOOR, step=3), *command(RATE, step=7), waits, ev.RunStarted(step=5, **started))
    assert known.net.keys() == {"optim.min_lr"}
    assert known.agenda == (), "the trainer tells it anew"


def test_the_agenda_holds_what_waits() -> None:
    items = [ev.CommandScheduled(item=n, step=1, what="save", when=f"at step {n}", at_step=n) for n in (1, 2)]
    assert after(*items, items[0]).agenda == (items[1], items[0])
    assert after(*items, ev.CommandUnscheduled(item=1, step=1, why="due")).agenda == (items[1],)
