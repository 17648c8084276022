import numpy as np
import pytest

from nmt.corpus.lexicon import Lexicon

END, V = 3, 30


def pairs(*texts: tuple[list[int], list[int]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(np.array(source), np.array(target)) for source, target in texts]


def slow_model_1(
    given: list[tuple[np.ndarray, np.ndarray]], iterations: int
) -> dict[tuple[int, int], float]:
    """Brown et al. (1993), as written on paper."""
    sentences = [([*source.tolist(), END], target.tolist()) for source, target in given]
    t = {(f, e): 1.0 for source, target in sentences for f in source for e in target}
    for _ in range(iterations):
        counts = dict.fromkeys(t, 0.0)
        for source, target in sentences:
            for e in target:
                whole = sum(t[f, e] for f in source)
                for f in source:
                    counts[f, e] += t[f, e] / whole
        totals: dict[int, float] = {}
        for (f, _), count in counts.items():
            totals[f] = totals.get(f, 0.0) + count
        t = {(f, e): count / totals[f] for (f, e), count in counts.items()}
    return t


def test_equals_the_equations() -> None:
    generator = np.random.default_rng(1)
    given = [
        (generator.integers(4, 12, generator.integers(1, 5)), generator.integers(15, 25, 3))
        for _ in range(20)
    ]
    lexicon = Lexicon.learn(given, V, END, iterations=3)
    expected = slow_model_1(given, 3)
    found = {
        (int(f), int(e)): float(p)
        for f, e, p in zip(lexicon.sources, lexicon.targets, lexicon.probabilities, strict=True)
    }
    assert found == pytest.approx(expected)


def test_finds_what_translates_what() -> None:
    house, the, book, a = 10, 11, 12, 13
    haus, das, buch, ein = 20, 21, 22, 23
    given = pairs(([the, house], [das, haus]), ([the, book], [das, buch]), ([a, book], [ein, buch]))
    lexicon = Lexicon.learn(given, V, END, iterations=10)
    for source, target in ((house, haus), (the, das), (book, buch), (a, ein)):
        assert lexicon.best(source, 1).tolist() == [target]
    assert len(lexicon.best(house, 5)) == 2
    assert len(lexicon.best(29, 5)) == 0
