"""Timelines of devices: recorded by executors, shown as a Gantt chart or a Chrome trace."""

from __future__ import annotations

import html
import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch

Kind = Literal["forward", "backward", "waiting", "communication", "update"]
COLOURS: dict[str, str] = {
    "forward": "#4c8fd6",
    "backward": "#2f5f98",
    "waiting": "#d5c9d8",
    "communication": "#e0a030",
    "update": "#6aa84f",
}
IDLE = "#eeeeee"


@dataclass(frozen=True)
class Event:
    """A span of a device's time, in seconds of `time.perf_counter`, a clock that all processes of a
    machine share."""

    device: int
    kind: Kind
    name: str
    start: float
    end: float
    step: int = 0  # counted from the first that was recorded
    together: bool = False  # whether it lasts until all devices have come to it, as a sum does


class Recorder:
    """Collects events while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.step = 0
        self.events: list[Event] = []

    @contextmanager
    def __call__(
        self, device: int, kind: Kind, name: str, together: bool = False
    ) -> Iterator[None]:
        """Record the time that the block takes; `together`: see `Event`."""
        if not self.on:
            yield
            return
        start = time.perf_counter()
        yield
        end = time.perf_counter()
        self.events.append(Event(device, kind, name, start, end, self.step, together))

    def wait_for(self, device: torch.device) -> None:
        """Wait for a GPU, which runs behind this process, so that its own time is recorded."""
        if self.on and device.type == "cuda":
            torch.cuda.current_stream(device).synchronize()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Record nothing inside, as in validation, which is no training step."""
        before, self.on = self.on, False
        yield
        self.on = before


def adjoined(events: Sequence[Event], last: int) -> list[Event]:
    """The events of the `last` steps, moved so that each step begins when the previous one ends:
    while a run validates or writes a checkpoint, the devices of its pipeline are not idle."""
    end, found = 0.0, list[Event]()
    for step in sorted({event.step for event in events})[-last:]:
        own = [event for event in events if event.step == step]
        shift = end - min(event.start for event in own)
        found += [replace(e, start=e.start + shift, end=e.end + shift) for e in own]
        end = max(event.end for event in found)
    return found


def with_waiting(events: Sequence[Event]) -> list[Event]:
    """The events, with those that all devices do together split where the last device has come to
    them: before that, the others have only waited."""
    latest: dict[tuple[int, str], float] = {}
    for event in events:
        if event.together:
            key = event.step, event.name
            latest[key] = max(latest.get(key, event.start), event.start)
    found = list[Event]()
    for event in events:
        begin = min(latest.get((event.step, event.name), event.start), event.end)
        if event.together and begin > event.start:
            found.append(replace(event, kind="waiting", name=f"wait to {event.name}", end=begin))
            event = replace(event, start=begin)
        found.append(event)
    return found


def idle_shares(events: Sequence[Event], devices: int) -> list[float]:
    """The share of the time from the first event to the last in which each device computes nothing:
    it waits, or sends and receives."""
    length = max(e.end for e in events) - min(e.start for e in events)
    busy = [0.0] * devices
    for event in events:
        if event.kind not in ("waiting", "communication"):
            busy[event.device] += event.end - event.start
    return [1 - seconds / length for seconds in busy]


def chrome_trace(events: Sequence[Event]) -> str:
    """JSON for chrome://tracing and Perfetto."""
    first = min(event.start for event in events)
    return json.dumps(
        {
            "traceEvents": [
                {
                    "name": event.name,
                    "cat": event.kind,
                    "ph": "X",
                    "ts": 1e6 * (event.start - first),
                    "dur": 1e6 * (event.end - event.start),
                    "pid": event.device,
                    "tid": 0,
                }
                for event in events
            ]
        }
    )


def gantt_html(events: Sequence[Event], names: Sequence[str], title: str) -> str:
    """An HTML page with a row for each device over an axis of time; pointing at a bar shows its
    task."""
    first, last = min(e.start for e in events), max(e.end for e in events)
    scale = WIDTH / (last - first)
    rows = []
    for device, (name, idle) in enumerate(zip(names, idle_shares(events, len(names)), strict=True)):
        y = device * (ROW + GAP)
        rows.append(f'<text x="0" y="{y + ROW / 2 + 5:.0f}">{html.escape(name)}</text>')
        rows.append(f'<rect x="{LEFT}" y="{y}" width="{WIDTH}" height="{ROW}" fill="{IDLE}"/>')
        rows += [_bar(event, first, scale, y) for event in events if event.device == device]
        rows.append(
            f'<text x="{LEFT + WIDTH + 8}" y="{y + ROW / 2 + 5:.0f}">{idle:.0%} idle</text>'
        )
    bottom = len(names) * (ROW + GAP)
    rows += _axis(last - first, scale, bottom)
    height = bottom + AXIS
    legend = " ".join(
        f'<span style="border-left: 1em solid {colour}">&nbsp;{kind}</span>&emsp;'
        for kind, colour in (*COLOURS.items(), ("idle", IDLE))
    )
    return PAGE.format(
        title=html.escape(title),
        width=LEFT + WIDTH + 90,
        height=height,
        rows="\n".join(rows),
        legend=legend,
        milliseconds=f"{1e3 * (last - first):.1f}",
    )


ROW, GAP, LEFT, WIDTH, AXIS = 34, 8, 90, 1100, 24
MOST_TICKS = 12
PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>body {{ font: 14px sans-serif; margin: 2em }} text {{ font-size: 13px }}
rect:hover {{ stroke: black }} line {{ stroke: #b0b0b0 }}</style>
<h1 style="font-size: 18px">{title}: {milliseconds} ms</h1>
<svg width="{width}" height="{height}">
{rows}
</svg>
<p>{legend}</p>
</html>
"""


def ticks(length: float) -> list[float]:
    """Round times from 0 to `length`, at equal distances of 1, 2 or 5 times a power of ten."""
    if length <= 0:
        return [0.0]
    step = 10.0 ** math.floor(math.log10(length / MOST_TICKS))
    step *= next(factor for factor in (1, 2, 5, 10) if length / (factor * step) <= MOST_TICKS)
    return [i * step for i in range(1 + int(length / step))]


def _axis(length: float, scale: float, bottom: float) -> list[str]:
    """Ticks with their times in milliseconds, under the rows."""
    marks = []
    for tick in ticks(length):
        x = LEFT + scale * tick
        marks.append(f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{bottom}" stroke-opacity="0.4"/>')
        marks.append(
            f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle">{1e3 * tick:.6g}</text>'
        )
    marks.append(f'<text x="{LEFT + WIDTH + 8}" y="{bottom + 14}">ms</text>')
    return marks


def _bar(event: Event, first: float, scale: float, y: float) -> str:
    milliseconds = 1e3 * (event.end - event.start)
    return (
        f'<rect x="{LEFT + scale * (event.start - first):.2f}" y="{y}" '
        f'width="{max(0.2, scale * (event.end - event.start)):.2f}" height="{ROW}" '
        f'fill="{COLOURS[event.kind]}"><title>{html.escape(event.name)}, '
        f"{milliseconds:.2f} ms</title></rect>"
    )


def write_trace(
    folder: Path, events: Sequence[Event], names: Sequence[str], title: str, file: str = "trace"
) -> None:
    """Write <file>.json (Chrome) and <file>.html into `folder`."""
    (folder / f"{file}.json").write_text(chrome_trace(events), encoding="utf-8")
    (folder / f"{file}.html").write_text(gantt_html(events, names, title), encoding="utf-8")
