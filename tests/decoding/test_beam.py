import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nmt.decoding.beam import (
    NEVER,
    Candidates,
    best_candidates,
    best_keys,
    candidates_of_keys,
    split,
)
from nmt.model.batch import EOS


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(2, 5),
    st.integers(5, 500),
    st.sampled_from([2, 30, 10_000]),
    st.integers(0, 10_000),
)
def test_the_best_are_found_and_ties_go_to_the_earlier(
    B: int, K: int, V: int, levels: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    # few levels: many ties
    logits = torch.randint(levels, (B, K, V), generator=generator).float() / 8
    running = -torch.randint(3, (B, K), generator=generator).float() / 8
    running[0, 1:] = NEVER
    scores = logits.log_softmax(-1) + running[..., None]
    scores[..., :EOS] = NEVER
    expected = []
    for row in scores.flatten(1).tolist():
        places = sorted(range(K * V), key=lambda place: (-row[place], place))
        best = [(row[place], *divmod(place, V)) for place in places[: 2 * K]]
        expected.append([one for one in best if one[0] > NEVER])
    keys = best_keys(logits.clone(), running, None)
    for found in (best_candidates(logits.clone(), running), candidates_of_keys(keys, V)):
        columns = (found.scores.tolist(), found.beams.tolist(), found.pieces.tolist())
        for i, best in enumerate(expected):
            got = list(zip(*(column[i] for column in columns), strict=True))
            assert got[: len(best)] == best
            assert all(score == NEVER for score, _, _ in got[len(best) :])


def test_scores_are_log_probabilities_of_hypotheses() -> None:
    logits, running = torch.randn(2, 3, 9), torch.randn(2, 3)
    expected = (running[..., None] + logits.log_softmax(-1))[..., EOS:].flatten(1)
    found = best_candidates(logits.clone(), running)
    torch.testing.assert_close(found.scores, expected.topk(6).values)


def test_greedy_takes_the_first_of_the_best() -> None:
    logits = torch.tensor([[[9.0, 9, 9, 1, 2, 5, 5]], [[0.0, 0, 0, 7, 1, 1, 1]]])
    expected = logits.log_softmax(-1)
    running = torch.tensor([[0.0], [-1.0]])
    keys = best_keys(logits.clone(), running, None)
    for found in (best_candidates(logits.clone(), running), candidates_of_keys(keys, 7)):
        assert found.pieces.tolist() == [[5], [EOS]]
        torch.testing.assert_close(
            found.scores[:, 0], expected[[0, 1], 0, [5, 3]] + torch.tensor([0, -1])
        )


@pytest.mark.parametrize("pieces", [2048, 2055, 9])
@pytest.mark.parametrize("levels", [3, 10_000])
def test_greedy_finds_it_among_many(pieces: int, levels: int) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randint(levels, (64, 1, pieces), generator=generator).float() / 8
    running = torch.zeros(64, 1)
    logits[5] = 0
    logits[6, 0, -1] = levels  # in what is left beside whole blocks
    banned = (torch.tensor([7]), logits[7, :, EOS:].argmax(1) + EOS)
    found = best_candidates(logits.clone(), running, banned)
    scores = logits.log_softmax(-1)
    scores[..., :EOS] = NEVER
    scores[banned[0], 0, banned[1]] = NEVER
    assert torch.equal(found.scores[:, 0], scores.amax((1, 2)))
    assert found.pieces[:, 0].tolist() == [row.index(max(row)) for row in scores[:, 0].tolist()]


def test_banned_pieces_are_not_chosen() -> None:
    for K in (1, 2):
        logits = torch.zeros(2, K, 8)
        logits[..., 5] = 3
        rows = torch.arange(K)  # those of the first sentence
        running = torch.zeros(2, K)
        keys = best_keys(logits.clone(), running, rows * 8 + 5)
        banned = (rows, torch.full((K,), 5))
        for found in (best_candidates(logits, running, banned), candidates_of_keys(keys, 8)):
            assert 5 not in found.pieces[0, :K]
            assert (found.pieces[1, :K] == 5).all()


def test_ends_finish_within_the_beam_and_never_go_on() -> None:
    pieces = torch.tensor([[EOS, 4, 5, EOS], [4, 5, EOS, 6], [EOS, EOS, 4, 5]])
    scores = torch.tensor([[-1.0, -2, -3, -4], [-1, -2, -3, -4], [-1, NEVER, NEVER, NEVER]])
    parts = split(Candidates(scores, torch.zeros_like(pieces), pieces), beams=2)
    assert parts.finished.tolist() == [
        [True, False, False, False],
        [False] * 4,
        [True, False, False, False],
    ]
    assert parts.continued.tolist() == [[1, 2], [0, 1], [2, 3]]
