"""The loop of a search: budgets, repeats, failures, and going on after an interruption."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from nmt.errors import CheckpointError, ConfigurationError, NmtError
from nmt.search.curves import bands, read_curve
from nmt.search.history import EVENTS, SEARCH, read_events
from nmt.search.report import FOUND, LEADERBOARD, WINNER, write_reports
from nmt.search.search import Search
from nmt.search.table import leaders, progress, ranking
from tests.search.conftest import SPACE, MakeSearch, Pretend, leave_result, loss_of, nothing

METHODS = ("random", "evolution", "reinforce", "optuna")
RULES = {
    "optimizer.rule": {
        "kind": "rule",
        "steps": 2,
        "operands": ["g", "m", "1"],
        "functions": ["x", "-x", "log(x)"],
        "operators": ["x + y", "x * y", "x"],
    }
}


def events_of(search: Search) -> list[dict[str, Any]]:
    return list(read_events(search.folder))


def finish(search: Search, workers: Pretend) -> None:
    try:
        search.run(workers, nothing)
    finally:
        search.history.close()


@pytest.mark.parametrize("method", METHODS)
def test_every_child_is_trained_once(make_search: MakeSearch, method: str) -> None:
    search, workers = make_search(method), Pretend(loss_of)
    finish(search, workers)
    assert workers.started == list(range(1, 21))
    assert sorted(search.records) == workers.started
    values = [tuple(one.values.values()) for one in search.records.values()]
    assert len(set(values)) == 20, "no two children are the same"
    best = search.best
    assert best is not None
    assert best.loss == min(loss_of(one.values) for one in search.records.values())
    assert ranking(search)[0].number == best.number
    assert search.repeats == sum(one["event"] == "repeat" for one in events_of(search))


def test_the_budget_counts_children_and_method(make_search: MakeSearch) -> None:
    budget = {"by": "tokens", "child": 100.0, "total": 1000.0, "children": None}
    search = make_search(budget=budget)
    finish(search, Pretend(loss_of))
    assert 8 <= len(search.records) <= 10
    assert 100 * len(search.records) < search.spent <= 1000
    assert search.method_seconds > 0
    speed = 100 / 2.0  # tokens of a child in its seconds
    by_method = search.method_seconds * speed
    assert search.spent == pytest.approx(100 * len(search.records) + by_method)


def test_seconds(make_search: MakeSearch) -> None:
    budget = {"by": "seconds", "child": 2.0, "total": 9.0, "children": None}
    search = make_search(budget=budget)
    finish(search, Pretend(loss_of))
    assert len(search.records) == 4
    assert search.spent == pytest.approx(8 + search.method_seconds)
    child = search.config_of(search.records[1])
    assert child.training.max_minutes == pytest.approx(2 / 60)
    assert child.training.max_tokens is None
    assert child.training.halving.rungs == [0.5, 1.0]
    assert child.training.halving.folder == str(search.folder)
    assert child.name == "search/0001"


def test_a_small_space_ends_the_search(make_search: MakeSearch) -> None:
    space = {"model.dropout": SPACE["model.dropout"]}
    search = make_search(space=space)
    finish(search, Pretend(lambda values: 1 + values["model.dropout"]))
    assert len(search.records) == 4
    assert search.repeats >= 300


def test_failures_are_rewards(make_search: MakeSearch) -> None:
    search = make_search("evolution", worst=7.0)

    def loss(values: Any) -> float:
        return 1e9 if values["model.residual"] == "gnmt" else loss_of(values)

    finish(search, Pretend(loss, failing=(3, 4)))
    assert len(search.records) == 20
    for number in (3, 4):
        record = search.records[number]
        assert record.loss is None
        assert record.error == "it failed"
        assert record.reward(search.worst) == -7
    infinite = [one for one in search.records.values() if one.values["model.residual"] == "gnmt"]
    assert infinite
    assert all(one.reward(search.worst) == -7 for one in infinite)
    assert "failed" in leaders(search, 20)
    assert search.best is not None
    assert search.best.loss is not None
    assert search.best.loss < 7


def test_the_worst_loss_is_that_of_a_guess(make_search: MakeSearch) -> None:
    search = make_search()
    assert search.worst == pytest.approx(math.log(330))
    search.history.close()


def test_pruned_children_do_not_win(make_search: MakeSearch) -> None:
    class Pruning(Pretend):
        def wait(self, seconds: float) -> Any:
            child = self._running[0]
            ended = super().wait(seconds)
            if child.number % 2:
                leave_result(child, 0.5, 50, "training.halving")
            return ended

    search = make_search()
    finish(search, Pruning(loss_of))
    assert sum(one.is_pruned for one in search.records.values()) == 10
    assert search.best is not None
    assert search.best.number % 2 == 0
    places = [one.is_pruned for one in ranking(search)]
    assert places == sorted(places)


def test_starting_points_come_first_and_once(make_search: MakeSearch) -> None:
    start = [{"model.dropout": 0.2, "model.residual": "full"}, {"model.dropout": 0.19}]
    search = make_search(start=start)
    finish(search, Pretend(loss_of))
    # The second has the residuals of the configuration, which are full: both are the same.
    assert [one.start for one in search.records.values()] == [True] + [False] * 19
    first = search.records[1].values
    assert first == {
        "model.dropout": 0.2,
        "model.residual": "full",
        "optimizer.learning_rate": 0.00178,  # the nearest to the configuration's
    }


def test_unsafe_rules_are_not_trained(make_search: MakeSearch) -> None:
    search = make_search("reinforce", space=RULES)
    finish(search, Pretend(lambda _: 1.0))
    reasons = [one["why"] for one in events_of(search) if one["event"] == "refused"]
    assert reasons
    assert sum(search.refused.values()) == len(reasons)
    assert all(one.startswith("the rule is unsafe") for one in search.refused)
    assert f"{len(reasons)} refused" in progress(search)


def test_points_that_are_no_configuration(make_search: MakeSearch) -> None:
    search = make_search(space=RULES, base="optimizer=adam")
    with pytest.raises(ConfigurationError, match="`rule` must be set with `optimizer=rule`"):
        finish(search, Pretend(lambda _: 1.0))


def test_a_space_of_unsafe_points_only(make_search: MakeSearch) -> None:
    rules = {"optimizer.rule": {**RULES["optimizer.rule"], "operands": ["1", "w"]}}
    search = make_search(space=rules)
    with pytest.raises(NmtError, match="must train at least one child"):
        finish(search, Pretend(lambda _: 1.0))


@pytest.mark.parametrize(
    ("method", "last"),
    [
        *((name, last) for name in METHODS for last in (1, 2, 11, 19)),
        *((name, 5) for name in METHODS[:-1]),  # among many points that are unsafe
    ],
)
def test_an_interrupted_search_goes_on_as_if_nothing_had_been(
    make_search: MakeSearch, method: str, last: int
) -> None:
    search = make_search(method, space=RULES if last == 5 else SPACE)
    loss = (lambda _: 1.5) if last == 5 else loss_of
    with pytest.raises(KeyboardInterrupt):
        finish(search, Pretend(loss, last=last))
    before = dict(search.records)
    with (search.folder / EVENTS).open("a", encoding="utf-8") as file:
        file.write('{"event": "end", "numb')  # it was killed while it wrote
    again = make_search(method, space=RULES if last == 5 else SPACE)
    assert again.records == before
    workers = Pretend(loss)
    finish(again, workers)
    assert not set(workers.started) & set(before), "none is repeated"
    assert sorted(again.records) == list(range(1, len(again.records) + 1)), "none is lost"
    ends = [one["number"] for one in events_of(again) if one["event"] == "end"]
    assert len(ends) == len(set(ends)) == len(again.records)
    if last != 5:
        assert len(ends) == 20


def test_it_proposes_what_it_would_have_proposed(make_search: MakeSearch) -> None:
    whole = make_search("evolution")
    finish(whole, Pretend(loss_of, workers=1))
    expected = [one.values for one in whole.records.values()]
    for file in (whole.folder / EVENTS, whole.folder / SEARCH):
        file.unlink()
    for child in whole.folder.glob("0*"):
        for left in child.iterdir():
            left.unlink()
    cut = make_search("evolution")
    with pytest.raises(KeyboardInterrupt):
        finish(cut, Pretend(loss_of, workers=1, last=9))
    again = make_search("evolution")
    finish(again, Pretend(loss_of, workers=1))
    assert [one.values for _, one in sorted(again.records.items())] == expected


def test_a_result_that_was_left_but_not_noted_is_taken(make_search: MakeSearch) -> None:
    search = make_search()
    with pytest.raises(KeyboardInterrupt):
        finish(search, Pretend(loss_of, last=6))
    unfinished = [n for n in range(1, 8) if n not in search.records]
    again = make_search()
    child = again._child(
        unfinished[0],
        tuple(again._children[unfinished[0]]["point"]),
        again._children[unfinished[0]]["values"],
    )
    child.folder.mkdir(parents=True, exist_ok=True)
    leave_result(child, 1.25, 77)
    workers = Pretend(loss_of)
    finish(again, workers)
    assert unfinished[0] not in workers.started
    assert again.records[unfinished[0]].loss == pytest.approx(1.25)
    assert again.records[unfinished[0]].tokens == 77


def test_another_search_in_the_folder(make_search: MakeSearch) -> None:
    search = make_search()
    finish(search, Pretend(loss_of, last=None))
    for changes in ({"method": "evolution"}, {"seed": 2}, {"space": RULES}):
        with pytest.raises(ConfigurationError, match="holds another search"):
            make_search(**changes)
    more = {"by": "tokens", "child": 100.0, "children": 24}
    again = make_search(budget=more)  # a larger budget goes on with it
    finish(again, Pretend(loss_of))
    assert len(again.records) == 24


def test_one_command_at_a_time(make_search: MakeSearch) -> None:
    search = make_search()
    with pytest.raises(CheckpointError, match="by one command at a time"):
        make_search()
    finish(search, Pretend(loss_of))
    make_search().history.close()


def test_a_cut_off_last_event_is_left_out(make_search: MakeSearch) -> None:
    search = make_search()
    finish(search, Pretend(loss_of))
    file = search.folder / EVENTS
    whole = file.read_bytes()
    count = len(events_of(search))
    for rest in (b'{"event": "e', b'{"event": "end"}', b"\xff\x00", b"null", b"\xc3"):
        file.write_bytes(whole + rest)
        assert len(events_of(search)) == count, rest
        make_search().history.close()
        assert file.read_bytes() == whole


def test_a_damaged_event_loses_none_of_the_others(make_search: MakeSearch) -> None:
    search = make_search()
    finish(search, Pretend(loss_of))
    file = search.folder / EVENTS
    lines = file.read_bytes().splitlines(keepends=True)
    for damage in (
        b"{\n",
        b"\n",
        b"[]\n",
        b"\xff\n",
        b'{"event": "what"}\n',
        b'{"event": "child"}\n',
    ):
        damaged = b"".join([*lines[:4], damage, *lines[5:]])
        file.write_bytes(damaged)
        for _ in range(2):  # the folder is not left locked
            with pytest.raises(ConfigurationError, match=r"Line 5 of .* is damaged"):
                make_search()
        assert file.read_bytes() == damaged
    file.write_bytes(b"".join(lines))
    make_search().history.close()


def test_a_folder_of_something_else(make_search: MakeSearch) -> None:
    search = make_search()
    search.history.close()
    folder = search.folder
    (folder / SEARCH).write_text("{", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="is damaged"):
        make_search()
    (folder / SEARCH).unlink()
    (folder / "config.yaml").write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="must be a search's folder, but is a run's"):
        make_search()


def test_reports(make_search: MakeSearch) -> None:
    search = make_search("reinforce", compare=[])
    finish(search, Pretend(loss_of, failing=(2,)))
    said = write_reports(search)
    with (search.folder / LEADERBOARD).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 20
    losses = [float(row["loss"]) for row in rows if row["loss"]]
    assert losses == sorted(losses)
    assert rows[-1]["error"] == "it failed"
    best = search.best
    assert best is not None
    assert float(rows[0]["optimizer.learning_rate"]) == best.values["optimizer.learning_rate"]
    winner = search.folder / WINNER
    optimizer = yaml.safe_load((winner / "optimizer" / f"{FOUND}.yaml").read_text("utf-8"))
    assert optimizer["learning_rate"] == best.values["optimizer.learning_rate"]
    model = yaml.safe_load((winner / "model" / f"{FOUND}.yaml").read_text("utf-8"))
    assert model["dropout"] == best.values["model.dropout"]
    assert model["name"] == FOUND
    assert f"nmt-train --config-dir {winner} model=found optimizer=found data=digits" in said
    page = (search.folder / "page.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 1
    assert "http" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "")
    for decision in search.space.decisions:
        assert decision.name in page
    assert "What the method came to prefer" in page


def test_several_searches_on_one_page(make_search: MakeSearch, tmp_path: Path) -> None:
    first = make_search("random")
    finish(first, Pretend(loss_of))
    other = tmp_path / "other"
    first.folder.rename(other)
    search = make_search("evolution", compare=[str(other)])
    finish(search, Pretend(loss_of))
    write_reports(search)
    page = (search.folder / "page.html").read_text(encoding="utf-8")
    assert "Best so far of each method" in page
    assert "random (1)" in page
    found = bands([read_curve(other), read_curve(search.folder)])
    assert [one.method for one in found] == ["random", "evolution"]
    for band in found:
        assert band.middle == sorted(band.middle, reverse=True)
        assert band.low == band.high == band.middle
    identity = json.loads((other / SEARCH).read_text("utf-8"))
    identity["budget"]["by"] = "seconds"
    (other / SEARCH).write_text(json.dumps(identity), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="whose budget is in tokens"):
        make_search("evolution", compare=[str(other)])
