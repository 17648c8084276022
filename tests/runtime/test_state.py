import torch

from nmt.model.batch import BOS
from nmt.runtime.state import DecoderState, pad_to
from tests.random_models import MakeModel, Model

LONG, SHORT, MIDDLE = [4, 5, 6, 7, 8, 9], [10], [5, 6, 5]


def after_a_step(model: Model, sources: list[list[int]]) -> DecoderState:
    state = model.stepper.start(sources, 2, coverage=True)
    return model.stepper.step(state, torch.full((len(sources) * 2,), BOS)).state


def assert_equal(state: DecoderState, other: DecoderState) -> None:
    assert len(state) == len(other)
    for name, tensors in state.recurrent.items():
        torch.testing.assert_close(tensors, other.recurrent[name])
    for name, memory in state.sources.memories.items():
        tokens = memory.bias[..., None].exp()
        for field in ("keys", "values"):
            found, wanted = (getattr(m, field) for m in (memory, other.sources.memories[name]))
            torch.testing.assert_close(found * tokens, wanted * tokens)
        assert torch.equal(memory.bias, other.sources.memories[name].bias)
    assert torch.equal(state.sources.lengths, other.sources.lengths)
    assert state.sources.longest == other.sources.longest
    torch.testing.assert_close(state.attended, other.attended)


def test_joined_sentences_are_as_if_they_had_started_together(make_model: MakeModel) -> None:
    model = make_model()
    for first, second in (([SHORT], [LONG, MIDDLE]), ([LONG, MIDDLE], [SHORT])):
        joined = after_a_step(model, first).join(after_a_step(model, second))
        assert_equal(joined, after_a_step(model, first + second))


def test_selecting_drops_sentences_and_their_padding(make_model: MakeModel) -> None:
    model = make_model()
    state = after_a_step(model, [LONG, SHORT, MIDDLE])
    rest = state.select(torch.tensor([1, 2]), torch.tensor([2, 3, 4, 5]))
    assert rest.sources.memories["attention"].bias.shape == (2, rest.sources.longest) == (2, 4)
    assert_equal(rest, after_a_step(model, [SHORT, MIDDLE]))


def test_reorder_moves_hypotheses_and_no_source(make_model: MakeModel) -> None:
    model = make_model()
    state = model.stepper.start([LONG, SHORT], 2, coverage=True)
    state = model.stepper.step(state, torch.tensor([4, 5, 6, 7])).state
    moved = state.reorder(torch.tensor([1, 1, 3, 2]))
    for name, (h, _) in state.recurrent.items():
        assert torch.equal(moved.recurrent[name][0], h[[1, 1, 3, 2]])
    assert moved.sources is state.sources


def test_padding_goes_behind_the_time_axis() -> None:
    assert pad_to(torch.ones(1, 2), 3).tolist() == [[1, 1, 0]]
    assert pad_to(torch.ones(1, 1, 2), 2, 7.0).tolist() == [[[1, 1], [7, 7]]]
