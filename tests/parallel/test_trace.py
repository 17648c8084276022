from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from nmt.parallel.trace import (
    Event,
    Recorder,
    adjoined,
    chrome_trace,
    idle_shares,
    ticks,
    with_waiting,
    write_trace,
)

EVENTS = [
    Event(0, "forward", "forward a 0 0", 10.0, 11.0),
    Event(1, "waiting", "wait", 10.0, 11.0),
    Event(1, "forward", "forward b<1> 0 0", 11.0, 12.0),
    Event(1, "backward", "backward b<1> 0 0", 12.0, 14.0),
    Event(0, "backward", "backward a 0 0", 14.0, 16.0),
    Event(0, "update", "optimizer", 16.0, 18.0),
]


def test_a_recorder_records_while_it_is_on() -> None:
    recorder = Recorder()
    with recorder(0, "forward", "before"):
        pass
    recorder.on = True
    with recorder(3, "update", "now"):
        pass
    (event,) = recorder.events
    assert (event.device, event.kind, event.name) == (3, "update", "now")
    assert event.start <= event.end


def test_waiting_is_no_work() -> None:
    assert idle_shares(EVENTS, 2) == pytest.approx([1 - 5 / 8, 1 - 3 / 8])


def test_waiting_for_the_last_to_come_to_a_sum() -> None:
    events = [
        Event(0, "communication", "sum", 1.0, 4.0, 5, together=True),
        Event(1, "communication", "sum", 3.0, 4.5, 5, together=True),
        Event(0, "communication", "sum", 9.0, 10.0, 6, together=True),
        Event(1, "communication", "send", 0.0, 0.5, 5),
        Event(0, "communication", "send", 0.2, 0.4, 5),
    ]
    found = [(e.device, e.kind, e.name, e.start, e.end) for e in with_waiting(events)]
    assert found == [
        (0, "waiting", "wait to sum", 1.0, 3.0),
        (0, "communication", "sum", 3.0, 4.0),
        (1, "communication", "sum", 3.0, 4.5),
        (0, "communication", "sum", 9.0, 10.0),
        (1, "communication", "send", 0.0, 0.5),
        (0, "communication", "send", 0.2, 0.4),
    ]


@pytest.mark.parametrize(
    ("length", "last", "count"),
    [(8.0, 8.0, 9), (0.0123, 0.012, 7), (1.0, 1.0, 11), (0.55, 0.55, 12), (0.0, 0.0, 1)],
)
def test_ticks_are_round(length: float, last: float, count: int) -> None:
    found = ticks(length)
    assert len(found) == count
    assert found[0] == 0.0
    assert found[-1] == pytest.approx(last)


def test_what_lies_between_two_steps_is_left_out() -> None:
    first = [Event(0, "forward", "old", 1.0, 2.0, 0)]
    second = [
        Event(0, "forward", "a", 10.0, 11.0, 1),
        Event(1, "communication", "wait", 10.5, 12.0, 1),
    ]
    third = [Event(1, "backward", "b", 101.0, 102.0, 2), Event(0, "update", "c", 100.0, 101.0, 2)]
    shown = adjoined([*third, *second, *first], 2)
    assert {(e.name, e.start, e.end) for e in shown} == {
        ("a", 0.0, 1.0),
        ("wait", 0.5, 2.0),
        ("c", 2.0, 3.0),
        ("b", 3.0, 4.0),
    }
    assert adjoined([], 2) == []


def test_chrome_trace() -> None:
    events = json.loads(chrome_trace(EVENTS))["traceEvents"]
    assert len(events) == len(EVENTS)
    assert events[3] == {
        "name": "backward b<1> 0 0",
        "cat": "backward",
        "ph": "X",
        "ts": 2e6,
        "dur": 2e6,
        "pid": 1,
        "tid": 0,
    }


class Bars(HTMLParser):
    """Reads the rows and bars of a page, and what it would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.heights: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "rect":
            self.heights.append(values["y"] or "")
        self.loads += [name for name in ("src", "href") if name in values]


def test_the_page_has_a_row_for_each_device_and_needs_nothing_else(tmp_path: Path) -> None:
    write_trace(tmp_path, EVENTS, ["first", "second"], "a & b")
    text = (tmp_path / "trace.html").read_text(encoding="utf-8")
    page = Bars()
    page.feed(text)
    assert len(set(page.heights)) == 2
    times = re.findall(r'text-anchor="middle">([^<]*)<', text)
    assert times == ["0", "1000", "2000", "3000", "4000", "5000", "6000", "7000", "8000"]
    assert len(page.heights) == len(EVENTS) + 2
    assert page.loads == []
    assert "a &amp; b: 8000.0 ms" in text
    assert "backward b&lt;1&gt; 0 0, 2000.00 ms" in text
    assert "62% idle" in text
    assert json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
