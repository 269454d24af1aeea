"""What a report says, that no text in it becomes markup, and that it stays small."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import numpy as np
import pytest
from markdown_it import MarkdownIt

sys.path.insert(0, str(Path(__file__).parents[1] / "cockpit"))
from played_runs import demo_profile, failed_story, finished_story, run_started, step_done, story

from cockpit.listing import reached
from cockpit.reducer import reduce_all
from cockpit.reporting.contents import Subject, compose
from cockpit.reporting.document import Document
from cockpit.reporting.figure import Band, file_of, raw
from cockpit.reporting.markdown import as_markdown, figures
from cockpit.reporting.page import as_html
from cockpit.reporting.safe import fenced, markdown, xml
from cockpit.series import Series
from cockpit.state import RunState
from gpt import events as ev
from gpt.config import flatten

HOSTILE = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp; ]](http://x) `a` | *b* _c_ \x1b]52;c;aGk=\x07\u202e"
)


def subject(events: Iterable[ev.Event], **changes: object) -> Subject:
    profile = demo_profile()
    facts: dict = dict(
        run="amber-heron", state=reduce_all(RunState(), events), profile=profile, settings=flatten(profile),
        source='name = "demo"\n', facts={"host": "here", "argv": ["demo"]}, written=1_700_000_000.0,
    )  # fmt: skip
    return Subject(**{**facts, **changes})


def report(events: Iterable[ev.Event], **changes: object) -> Document:
    about = subject(events, **changes)
    return compose(about, about.diagnoses())


class Tags(HTMLParser):
    """The elements of a page, their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[tuple[str, str | None]] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= set(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_report_has_its_parts_in_order_and_leaves_out_what_there_is_none_of() -> None:
    titles = [section.title for section in report(finished_story()).sections]
    assert titles == [
        "In short", "Diagnoses", "Curves", "Evaluations", "Where the time went", "What was changed while it ran",
        "Samples through the run", "Settings that differ from the defaults", "Model and data", "Checkpoints",
        "Sittings", "Origin", "Profile",
    ]  # fmt: skip
    titles = [section.title for section in report([run_started()]).sections]
    assert "Curves" not in titles and "Evaluations" not in titles


def test_its_page_tells_the_figures_of_the_run_in_words_that_can_be_selected() -> None:
    text = Tags(as_html(report(finished_story()))).text
    for said in ("amber-heron", "FINISHED", "1.5500", "loss, nats/token", "optim.grad_clip", "def main(", "goodput",
                 "checkpoints/step-00000800", "AMD EPYC, 2 threads"):  # fmt: skip
        assert said in text, said
    assert "out of memory" in Tags(as_html(report(failed_story()))).text
    assert "had not ended" in Tags(as_html(report(story()))).text


def test_the_page_and_the_figures_for_scripts_say_one_speed() -> None:
    steps = [step_done(step, 2.0, ms=10.0 if step > 100 else 40.0) for step in range(1, 201)]
    state = reduce_all(RunState(), [run_started(), *steps])
    told, text = reached(state), Tags(as_html(report([run_started(), *steps]))).text
    assert told["ms_per_iter"] == 10.0
    for said in (f"{told['ms_per_iter']:.1f}", f"{told['tokens_per_s']:,.0f}", f"{100 * told['mfu']:.1f} %"):
        assert said in text, said


def test_a_page_fetches_and_runs_nothing() -> None:
    page = as_html(report(finished_story()), screen="<svg/>")
    tags = Tags(page)
    assert not tags.tags & {"script", "link", "iframe", "object", "embed", "form"}
    links = [value for name, value in tags.attributes if name in ("src", "href") and value]
    assert links and all(link.startswith(("#", "data:image/svg+xml;base64,")) for link in links)
    assert set(re.findall(r"https?://[^\s\"'<)]+", page)) == {"http://www.w3.org/2000/svg"}
    assert "url(http" not in page and "@import" not in page
    assert "default-src 'none'" in page


def test_a_diagnosis_is_told_with_its_figures() -> None:
    profile = msgspec.structs.replace(demo_profile(), expected_parameters="350M")
    shown = report(finished_story(), profile=profile, settings=flatten(profile))
    assert "not 350M" in Tags(as_html(shown)).text and "not 350M" in as_markdown(shown)


def hostile_story() -> list[ev.Event]:
    """A run in which every text that comes from outside is hostile."""
    events: list[ev.Event] = []
    for event in story(450):
        texts = {
            name: HOSTILE
            for name in ("run", "profile", "device", "dtype", "tokenizer", "versions", "key", "old", "new", "path",
                         "reason", "prompt", "text", "peak_source")
            if isinstance(getattr(event, name, None), str)
        }  # fmt: skip
        events.append(msgspec.structs.replace(event, **texts))
    events += [
        ev.SampleStarted(sample=9, step=440, prompt=HOSTILE),
        ev.SampleDone(sample=9, step=440, prompt=HOSTILE, text="```\n# no heading\n" + HOSTILE, tokens=3, seconds=1),
        ev.ConfigChanged(step=440, key=HOSTILE, old=HOSTILE, new=HOSTILE),
        ev.Resumed(step=445, exact=False, why=HOSTILE, left=448),
        ev.LogLine(level="warning", text=HOSTILE), ev.CheckpointFailed(step=450, error=HOSTILE),
        ev.Failed(step=450, phase=HOSTILE, error=HOSTILE),
    ]  # fmt: skip
    return events


def hostile_report() -> Document:
    profile = msgspec.structs.replace(demo_profile(), name=HOSTILE, description=HOSTILE)
    facts = {"host": HOSTILE, "argv": [HOSTILE], "git": {"commit": HOSTILE}, "system": HOSTILE, "cockpit": HOSTILE}
    settings = flatten(profile) | {HOSTILE: HOSTILE, "data.input": HOSTILE}
    return report(
        hostile_story(), run=HOSTILE, profile=profile, settings=settings, source=f"# {HOSTILE}\n```\n<b>", facts=facts
    )


def test_no_text_of_a_run_becomes_html() -> None:
    usual, hostile = Tags(as_html(report(finished_story()))), Tags(as_html(hostile_report()))
    assert hostile.tags - usual.tags <= {"g", "line", "path", "rect", "circle", "title", "p"}
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    assert hostile.text.count("<script>alert(1)</script>") > 20  # told as it is
    assert "\x1b" not in hostile.text and "\u202e" not in hostile.text


def test_no_text_of_a_run_becomes_markdown() -> None:
    reader = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").enable("strikethrough")
    shown = hostile_report()
    tokens = [inner for token in reader.parse(as_markdown(shown)) for inner in (token, *(token.children or ()))]
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_block", "html_inline", "link_open", "code_inline"}
    assert {token.attrs["src"] for token in tokens if token.type == "image"} == set(figures(shown))
    titles = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert titles[1:] == [section.title for section in shown.sections]


@pytest.mark.parametrize(
    "text", [HOSTILE, "a\x00b\ud800", "```` x\n~~~", "# a\n1. b\n- c\n", "&lt;b&gt;", "www.x.y @me"]
)
def test_what_is_written_reads_as_it_was(text: str) -> None:
    reader = MarkdownIt("commonmark")
    (block,) = [token for token in reader.parse(fenced(text)) if token.type == "fence"]
    assert "\x1b" not in block.content and block.content.count("\n") == text.rstrip().count("\n") + 1
    inline = reader.parse(markdown(text))[1].children or []
    assert {token.type for token in inline} == {"text"} and len(reader.parse(markdown(text))) == 3
    assert ElementTree.fromstring(f"<a b='{xml(text)}'>{xml(text)}</a>").text


def test_each_plot_is_a_file_of_its_own_that_is_whole_xml() -> None:
    for name, plot in figures(hostile_report()).items():
        root = ElementTree.fromstring(file_of(plot.svg))
        assert root.tag.endswith("svg") and name.endswith(".svg")
        assert "prefers-color-scheme: dark" in file_of(plot.svg)
        kinds = {element.tag.rsplit("}", 1)[-1] for element in root.iter()}
        assert kinds <= {"svg", "style", "rect", "line", "path", "text", "title", "circle", "g", "clipPath"}


def test_a_hundred_thousand_steps_make_no_larger_a_report_and_no_spike_is_lost() -> None:
    count = 100_000
    dice = np.random.default_rng(1)
    losses = 3 + dice.normal(0, 0.05, count)
    losses[61_234] = 7.5
    events: list[ev.Event] = [run_started(max_steps=count)]
    for step, loss in enumerate(losses.tolist(), start=1):
        events.append(step_done(step, loss))
        if step % 100 == 0:
            events.append(ev.EvalDone(step=step, train_loss=loss, val_loss=loss, seconds=1.0, best=False))
    about = subject(events)
    assert about.state.step == count
    page, text = (write(compose(about, ())) for write in (as_html, as_markdown))
    assert len(page) < 600_000 and len(text) < 30_000
    (band,) = raw(about.state.loss, "band", "raw", "")
    assert isinstance(band, Band) and len(band.x) <= 1000 and band.high.max() == 7.5
    assert abs(band.x[int(band.high.argmax())] - 61_235) < 200
    assert "7.5" in re.findall(r"↑ ([\d.]+)", page)  # above the range, and pointed at
    assert "60 of 1,000 evaluations" in page


def test_a_short_curve_is_drawn_point_by_point_and_a_value_that_is_not_a_number_is_a_gap() -> None:
    (curve,) = raw(Series().extend([1, 2, 3, 4], [1.0, None, 2.0, 3.0]), "band", "raw", "")
    assert not isinstance(curve, Band) and len(curve.x) == 4
    page = as_html(report([run_started(), *(step_done(n, None if n == 2 else 2.0 + n) for n in (1, 2, 3, 4))]))
    path = re.findall(r'class="raw" d="([^"]+)"', page)[0]  # the other one is in the key
    assert path.count("M") == 2
    assert "nan" not in page.lower().replace("nanogpt", "")


def test_what_a_rewind_left_stays_in_the_plot_and_is_told() -> None:
    events = [*story(300), ev.Resumed(step=200, exact=False, why="", left=300), *story(0)[:0]]
    shown = report([*events, *(step_done(step, 1.8) for step in range(201, 260))])
    page = as_html(shown)
    assert 'class="left"' in page and "abandoned" in page and "What it went back from" in page
    assert "on its pilot&#x27;s word" in page
