"""Settings of conf/search: what is searched, and what it may cost."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from nmt.config.settings import (
    LARGEST,
    Fraction,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    Settings,
    Text,
)

Number = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


class ChoiceConfig(Settings):
    """A setting that takes one of some values."""

    kind: Literal["choice"] = Field(description="What the values are.")
    values: Annotated[list[Any], Field(min_length=1)] = Field(description="The values.")
    ordered: bool = Field(default=False, description="Whether neighbours are alike.")


class RangeConfig(Settings):
    """A number between two others, from a grid."""

    kind: Literal["range"] = Field(description="What the values are.")
    low: Number = Field(description="The smallest value.")
    high: Number = Field(description="The largest value.")
    steps: Annotated[PositiveInt, Field(ge=2, le=1000)] = Field(description="Values in all.")
    log: bool = Field(default=False, description="Whether neighbours have the same ratio.")

    @model_validator(mode="after")
    def _rises(self) -> RangeConfig:
        if self.low >= self.high or (self.log and self.low <= 0):
            least = " above 0" if self.log else ""
            raise ValueError(
                f"`low` must be a number{least} and less than `high`, but they are {self.low:g} "
                f"and {self.high:g} instead."
            )
        return self


class RuleSpaceConfig(Settings):
    """Update rules in steps, each of which combines two values (Bello et al. 2017)."""

    kind: Literal["rule"] = Field(description="What the values are.")
    steps: Annotated[PositiveInt, Field(le=10)] = Field(description="Number of steps at most.")
    operands: Annotated[list[Text], Field(min_length=1)] = Field(
        description="What a step may begin with, beside the results of earlier steps."
    )
    functions: Annotated[list[Text], Field(min_length=1)] = Field(
        description="Functions of one value x."
    )
    operators: Annotated[list[Text], Field(min_length=1)] = Field(
        description="Operators of two values x and y."
    )


class CellSpaceConfig(Settings):
    """Recurrent cells: products of the input and the state, combined by a graph of nodes (Zoph & Le
    2017)."""

    kind: Literal["cell"] = Field(description="What the values are.")
    products: Annotated[PositiveInt, Field(le=8)] = Field(
        description="Pairs of products of matrices with the input and with the state."
    )
    nodes: Annotated[PositiveInt, Field(le=16)] = Field(
        description="Nodes that combine two values; the last one is the output."
    )
    combinations: Annotated[
        list[Literal["add", "multiply", "subtract", "first"]], Field(min_length=1)
    ] = Field(description="How a node combines its values.")
    activations: Annotated[
        list[Literal["identity", "tanh", "sigmoid", "relu"]], Field(min_length=1)
    ] = Field(description="Functions of a combination.")


DimensionConfig = Annotated[
    ChoiceConfig | RangeConfig | RuleSpaceConfig | CellSpaceConfig, Field(discriminator="kind")
]


class BudgetConfig(Settings):
    """What a search may cost."""

    by: Literal["seconds", "tokens"] = Field(
        description="Unit of `child` and `total`: seconds of work, or target tokens."
    )
    child: PositiveFloat = Field(description="What one child may cost.")
    total: PositiveFloat | None = Field(
        description="What all children and the method itself may cost together; with tokens, the "
        "method's time counts as the tokens that children train on in it; null: no limit."
    )
    children: PositiveInt | None = Field(
        description="Number of children to train at most; null: no limit."
    )

    @model_validator(mode="after")
    def _is_limited(self) -> BudgetConfig:
        if self.total is None and self.children is None:
            raise ValueError("`total` or `children` must be set, but both are null.")
        if self.total is not None and self.total < self.child:
            raise ValueError(
                f"`total` must be enough for one child ({self.child:g} {self.by}), but is "
                f"{self.total:g} instead."
            )
        return self


class PruningConfig(Settings):
    """Successive halving of children: see `training.halving`."""

    rungs: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        description="Fractions of a child's budget after which it is compared; empty: no halving."
    )
    keep: Annotated[float, Field(gt=0, le=1)] = Field(
        description="Fraction of the children that go on at each rung."
    )


class TransferConfig(Settings):
    """What is trained from a finished search, with `hydra/sweeper=transfer`."""

    search: Text | None = Field(description="Folder of the search whose findings are trained.")
    best: PositiveInt = Field(description="How many of the best children to train.")
    spread: bool = Field(
        description="Take children from the whole range of rewards instead of the best, to see how "
        "well the reward predicts the score."
    )
    start: bool = Field(description="Whether the search's starting points are trained, too.")
    test: Text | None = Field(
        description="Test set of the corpus on which the trained models are scored, such as "
        "test2016; null: only the validation sets."
    )


class SearchConfig(Settings):
    """conf/search: a search over settings, which a sweeper executes."""

    name: Text = Field(description="Name of this configuration, for reports.")
    workers: PositiveInt = Field(description="Children that are trained at the same time.")
    threads: PositiveInt | None = Field(
        description="CPU threads of each child; null: its share of the cores."
    )
    budget: BudgetConfig
    pruning: PruningConfig
    fixed: list[Text] = Field(
        description="Settings of children, and of whole runs with what was found, such as "
        "`optimizer=rule`."
    )
    child: list[Text] = Field(
        description="Settings of children alone, which make them fast, such as "
        "`model.hidden_size=128`. Those on the command line come after them."
    )
    space: dict[str, DimensionConfig] = Field(
        description="What is searched: a setting, or a group, and the values it may take."
    )
    start: list[dict[str, Any]] = Field(
        description="Points to begin with: values of settings of the space; those that a point "
        "does not name have the values of the configuration."
    )
    compare: list[Text] = Field(description="Folders of other searches to show on the same page.")
    show_seconds: NonNegativeFloat = Field(
        description="Seconds between two tables of the best children in the log; on a terminal "
        "there is a live table instead."
    )
    transfer: TransferConfig
    worst: PositiveFloat | None = Field(
        description="Loss of a child that fails, and the largest that counts; null: that of a "
        "uniform guess over the vocabulary."
    )


class MethodConfig(Settings):
    """conf/hydra/sweeper: the method of a search."""

    method: Literal["random", "evolution", "reinforce", "optuna", "transfer"] = Field(
        description="How points are proposed; transfer: not at all."
    )
    population: Annotated[PositiveInt, Field(ge=2)] = Field(
        description="evolution: points that are alive; the oldest dies when one is born."
    )
    tournament: PositiveInt = Field(
        description="evolution: points of which the best becomes a parent."
    )
    mutations: PositiveInt = Field(description="evolution: most choices that a child changes.")
    hidden: PositiveInt = Field(description="reinforce: units of the controller's LSTM.")
    learning_rate: PositiveFloat = Field(description="reinforce: that of the controller.")
    entropy: NonNegativeFloat = Field(description="reinforce: weight of the controller's entropy.")
    batch: PositiveInt = Field(description="reinforce: children between two updates.")
    warm: Fraction = Field(
        description="reinforce: probability that the controller starts with for each choice of the "
        "starting points."
    )
