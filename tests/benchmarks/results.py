"""Results of benchmarks: rows in `bench.json`, and all measurements and their circumstances in
`about.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from nmt.files import replacing
from tests.benchmarks.machine import describe_machine

# Prefixes of the rows of each part, all of which a new run of the part replaces.
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "train": ("train.",),
    "pipeline": ("pipeline.",),
    "placement": ("placement.",),
    "server": ("server.",),
    "decode": ("decode.", "translate.", "int8."),
    "trained": ("trained.",),
    "gpu": ("gpu.",),
}


@dataclass(frozen=True)
class Row:
    """One row of bench.json. A ratio above 1 means better than the peer."""

    name: str
    value: float
    unit: str
    peer: str | None
    peer_value: float | None
    ratio: float | None


@dataclass
class Report:
    """The results of one part."""

    part: str
    rows: list[Row] = field(default_factory=list)
    measured: dict[str, dict[str, Any]] = field(default_factory=dict)
    not_measured: dict[str, str] = field(default_factory=dict)  # name → reason
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        unit: str,
        values: Sequence[float],
        peer: str | None = None,
        peer_values: Sequence[float] = (),
    ) -> None:
        """Add a row with the medians of measurements. With a peer, more must be better."""
        value = median(values)
        peer_value = median(peer_values) if peer_values else None
        ratio = value / peer_value if peer_value else None
        self.rows.append(Row(name, value, unit, peer if peer_values else None, peer_value, ratio))
        self.measured[name] = _summary(values)
        if peer_values:
            self.measured[name]["peer"] = _summary(peer_values)

    def replace(self, name: str, unit: str, values: Sequence[float]) -> None:
        """Like `add`, but replaces a row of the same name."""
        self.rows = [row for row in self.rows if row.name != name]
        self.add(name, unit, values)

    def compare(self, name: str, seconds: Sequence[float], peer: str, by: Sequence[float]) -> None:
        """Add a row with the speed-up over a peer, from the seconds of both."""
        ratio = median(by) / median(seconds)
        self.rows.append(Row(name, ratio, "x", peer, 1.0, ratio))
        self.measured[name] = {"seconds": _summary(seconds), "peer": _summary(by)}

    def skip(self, name: str, reason: str) -> None:
        """Record why a row is missing."""
        self.not_measured[name] = reason

    def table(self) -> str:
        """The results as text to read."""
        lines = [f"{'name':58} {'value':>9} {'spread':>7} {'peer':>9} {'ratio':>6}  unit"]
        for row in self.rows:
            spread = self.measured[row.name].get("spread")
            lines.append(
                f"{row.name:58} {row.value:9.2f} {_cell(spread, '7.0%')} "
                f"{_cell(row.peer_value, '9.2f')} {_cell(row.ratio, '6.2f')}  {row.unit}"
                + (f" (peer: {row.peer})" if row.peer else "")
            )
        lines += [f"{name}: not measured: {why}" for name, why in self.not_measured.items()]
        return "\n".join([*lines, *self.notes])

    def save(self, folder: Path, command: str, started: Mapping[str, Any]) -> None:
        """Replace this part's rows in bench.json, and its entry in about.json."""
        folder.mkdir(parents=True, exist_ok=True)
        rows = _read(folder / "bench.json", [])
        rows = [row for row in rows if not row["name"].startswith(PREFIXES[self.part])]
        rows += [asdict(row) for row in self.rows]
        _write(folder / "bench.json", sorted(rows, key=lambda row: str(row["name"])))
        about = _read(folder / "about.json", {})
        about[self.part] = {
            "command": command,
            **started,
            "machine": describe_machine(),
            "measured": self.measured,
            "not_measured": self.not_measured,
            "notes": self.notes,
        }
        _write(folder / "about.json", about)


def _summary(values: Sequence[float]) -> dict[str, Any]:
    middle = median(values)
    return {
        "values": list(values),
        "repeats": len(values),
        "median": middle,
        "spread": (max(values) - min(values)) / middle if middle else None,
    }


def _cell(value: float | None, format_: str) -> str:
    width = int(format_.partition(".")[0])
    return format(value, format_) if value is not None else "-".rjust(width)


def _read(file: Path, default: Any) -> Any:
    return json.loads(file.read_text("utf-8")) if file.exists() else default


def _write(file: Path, value: Any) -> None:
    with replacing(file) as unfinished:
        unfinished.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")
