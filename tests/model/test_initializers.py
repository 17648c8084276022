"""Initial values: what each parameter gets, and that they are those of earlier versions."""

import hashlib
from collections.abc import Callable, Mapping
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from nmt.config import GnmtConfig
from nmt.model.build import build_graph
from nmt.model.dropout import stable_seed
from nmt.model.graph import Axis, LayerGraph, Node, PerPosition
from nmt.model.initializers import Initializer, initialise, ones, open_forget_gate, uniform, zeros
from nmt.model.layer import Layer

MakeModel = Callable[..., GnmtConfig]


def first_version(name: str, shape: torch.Size, seed: int) -> Tensor:
    """How version 0.1 chose initial values, by parts of a name."""
    if "bias" in name:
        values = torch.zeros(shape)
        if "bias_ih" in name:
            values[shape[0] // 4 : shape[0] // 2] = 1
        return values
    generator = torch.Generator().manual_seed(stable_seed(seed, name))
    bound = 3**0.5 / shape[-1] ** 0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)


@pytest.mark.parametrize("tie", ["none", "all"])
def test_models_start_as_in_the_first_version(model_config: MakeModel, tie: str) -> None:
    graph = build_graph(model_config(tie=tie), 20)
    for name, parameter in graph.build(graph.names, seed=7).canonical_parameters().items():
        expected = first_version(name, parameter.shape, 7)
        assert torch.equal(parameter.detach(), expected), name


def test_values_are_the_same_on_every_machine(model_config: MakeModel) -> None:
    graph = build_graph(model_config(), 20)
    parameters = graph.build(graph.names, seed=7).canonical_parameters()
    digest = hashlib.sha256()
    for name in sorted(parameters):
        digest.update(name.encode() + parameters[name].detach().numpy().tobytes())
    assert digest.hexdigest()[:16] == "4a381f0f0f959d2e"


def test_initializers() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = uniform(torch.Size([300, 12]), generator)
    assert float(matrix.abs().max()) <= 0.5
    assert float(matrix.std()) == pytest.approx(12**-0.5, rel=0.03)
    assert zeros(torch.Size([3]), generator).tolist() == [0, 0, 0]
    assert ones(torch.Size([2, 1]), generator).tolist() == [[1], [1]]
    assert open_forget_gate(torch.Size([8]), generator).tolist() == [0, 0, 1, 1, 0, 0, 0, 0]


def test_values_depend_on_name_and_seed_alone() -> None:
    def value(name: str, seed: int, dtype: torch.dtype = torch.float32) -> Tensor:
        parameter = nn.Parameter(torch.empty(3, 4, dtype=dtype))
        initialise(parameter, uniform, name, seed)
        return parameter.detach()

    assert torch.equal(value("a", 1), value("a", 1))
    assert torch.equal(value("a", 1).double(), value("a", 1, torch.float64))
    assert not torch.equal(value("a", 1), value("b", 1))
    assert not torch.equal(value("a", 1), value("a", 2))


class Normalised(Layer):
    """A gain, and whatever it is declared to start with."""

    def __init__(self, name: str, values: Mapping[str, Initializer]) -> None:
        super().__init__(name)
        self.gain = nn.Parameter(torch.empty(5))
        self.values = values

    def initial_values(self) -> Mapping[str, Initializer]:
        return self.values


def node(name: str, values: Mapping[str, Initializer], shares: Mapping[str, str]) -> Node:
    build = partial(Normalised, name, values)
    return Node(name, build, (), Axis.SOURCE, PerPosition((5,)), shares)


def test_a_layer_decides_about_its_own_parameters() -> None:
    stack = LayerGraph("g", (node("a", {"gain": ones}, {}),)).build(["a"], seed=1)
    assert stack.canonical_parameters()["a.gain"].tolist() == [1] * 5


def test_a_parameter_without_initial_values_is_our_mistake() -> None:
    graph = LayerGraph("g", (node("a", {}, {}),))
    with pytest.raises(AssertionError, match="Normalised declares no initial values of gain"):
        graph.build(["a"], seed=1)


def test_layers_that_share_a_parameter_agree() -> None:
    shares = {"gain": "a.gain"}
    graph = LayerGraph("g", (node("a", {"gain": ones}, {}), node("b", {"gain": zeros}, shares)))
    with pytest.raises(AssertionError, match=r"a\.gain has two initial values"):
        graph.build(["a", "b"], seed=1)
