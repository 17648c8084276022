"""The executor for contiguous stages in several processes, over DeepSpeed's pipeline engine.

One process for each stage of each replica. Where DeepSpeed would not compute what one process does,
this file does it instead: version 0.19.8 clips fp32 gradients by the norm of the first stage alone,
reports losses in fp32, and starts the fp32 parameters behind bf16 layers from rounded values.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from nmt.errors import ConfigurationError, PlanError
from nmt.model.batch import Batch
from nmt.model.dropout import Randomness
from nmt.parallel import group
from nmt.parallel.deepspeed import StageEngine, StageModule, quiet, start
from nmt.parallel.executor import StepResult, TrainingRecipe
from nmt.parallel.group import GroupMember
from nmt.parallel.stage import Stage, parameters_on_several
from nmt.parallel.state import owned_part
from nmt.parallel.stores import Parameters, PlainStore, ShardedStore
from nmt.parallel.trace import Event
from nmt.parallel.weights import WeightsMixin
from nmt.placement.plan import Plan


class DeepSpeedExecutor(GroupMember, WeightsMixin):
    """Consecutive layers in a process each, and data parallel replicas of them all.

    The global batch is split into replicas × micro-batches, as `LocalExecutor` splits it into that
    many; replica r has the r-th run of them. Ranks are numbered stage by stage. A process can have
    only one such executor at a time.

    Raises:
        PlanError: the plan is not for this graph or this number of processes, or not contiguous.
        ConfigurationError: this precision needs another `zero`.
    """

    _weights: PlainStore | ShardedStore

    def __init__(
        self,
        recipe: TrainingRecipe,
        plan: Plan,
        device: str,
        replicas: int = 1,
        zero: int = 0,
        keep_gradients: bool = False,
    ) -> None:
        """`device` is cpu or cuda. `gather_gradients` needs `keep_gradients`."""
        graph = recipe.graph
        plan.validate_against(graph.name, graph.names)
        stages = plan.stages(graph.names)
        _check_precision(recipe.dtype, zero, replicas)
        self._device = start(device)
        _check_processes(len(stages), replicas)
        self._recipe, self._keep = recipe, keep_gradients
        self._replicas, self._micro_batches = replicas, plan.micro_batches
        self._gradients: dict[str, Tensor] = {}
        self._randomness = Randomness(recipe.seed)
        self._losses: list[Tensor] = []  # of this step's micro-batches, on the last stage
        self._scale: float | None = None  # of the losses; None outside of training

        def build(names: Sequence[str]) -> Stage:
            return Stage(graph, names, recipe.seed, recipe.parameter_dtype, self._randomness)

        with quiet():
            ties = parameters_on_several(graph, stages)
            module = StageModule(build, stages, replicas, ties, self._micro_batch_loss)
            self._stage, self._replica = module.stage, module.mpu().get_data_parallel_id()
            self._parameters: Parameters = self._stage.stack.canonical_parameters()
            initial = {n: p.detach().cpu().clone() for n, p in self._parameters.items()}
            sharded = recipe.is_bf16 or (zero == 1 and replicas > 1)
            settings = _settings(recipe, self._micro_batches, sharded)
            parameters = list(self._parameters.values())
            self._engine = StageEngine(module, recipe.optimizer, parameters, settings)
        self._engine.before_step = self._before_step
        self.recorder = self._engine.recorder
        if replicas == 1:
            self._engine.pipeline_enable_backward_allreduce = False  # nobody to average with
        self._weights = self._make_store(sharded)
        if recipe.is_bf16:
            assert isinstance(self._weights, ShardedStore)
            self._weights.set_parameters(initial)

    def _make_store(self, sharded: bool) -> PlainStore | ShardedStore:
        if sharded:
            # Adagrad has been made anew for the flat parameters.
            wrapper = self._engine.optimizer
            return ShardedStore(wrapper, wrapper.optimizer, self._parameters)
        stages = self._engine.grid.get_model_parallel_group()
        return PlainStore(
            self._engine.basic_optimizer, self._parameters, self._recipe.clip_norm, stages
        )

    def train_step(
        self, batch: Batch, step: int, learning_rate: float, done: float = 0.0
    ) -> StepResult:
        """One optimizer step on the global batch."""
        tokens = batch.tokens
        self._randomness.begin_step(step)
        for parameters in self._engine.optimizer.param_groups:
            parameters |= {"lr": learning_rate, "done": done}
        M, first = self._micro_batches, self._replica * self._micro_batches
        # DeepSpeed divides by the micro-batches and averages over the replicas.
        self._scale = self._replicas * M / tokens
        # It divides only the main loss by the micro-batches, but averages all gradients.
        self._stage.loss_scale = self._replicas / tokens
        feed = self._feed(batch.split(self._replicas * M)[first : first + M])
        self._engine.train_batch(feed)
        loss = self._sum_losses() / tokens
        norm = self._engine.gradient_norm
        clip_norm = self._recipe.clip_norm
        if isinstance(self._weights, ShardedStore) and clip_norm is not None:
            clipped = min(1.0, clip_norm / (norm + 1e-6))
            self._gradients = {n: g * clipped for n, g in self._gradients.items()}
        return StepResult.of(loss, norm, tokens)

    def validation_loss(self, batches: Iterable[Batch]) -> float:
        """Mean loss of a target token, without dropout. Each batch is one micro-batch; the replicas
        share them, and may have different numbers of them."""
        everything = list(batches)
        share = everything[self._replica :: self._replicas]
        self._scale, self._stage.loss_scale = None, 0.0
        with self.recorder.paused():
            self._engine.eval_batch(
                self._feed(share),
                reduce_output=None,
                bcast_loss=False,
                num_micro_batches=len(share),
            )
        return self._sum_losses() / sum(batch.tokens for batch in everything)

    def _feed(self, micro_batches: Sequence[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """Set the stage's micro-batches → pairs for DeepSpeed: the first stage loads the number of
        a micro-batch, the last one its labels."""
        self._losses.clear()
        self._stage.micro_batches = moved = [one.to(self._device) for one in micro_batches]
        return ((torch.tensor(i), one.labels) for i, one in enumerate(moved))

    def _micro_batch_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss that the last stage starts the backward pass from."""
        training = self._scale is not None
        compute = self._recipe.loss if training else self._recipe.validation_loss
        loss = compute(logits, labels)
        self._losses.append(loss.detach())
        return loss if self._scale is None else loss * self._scale

    def _sum_losses(self) -> float:
        self._stage.micro_batches = ()
        own = sum((float(loss) for loss in self._losses), 0.0)
        return group.total(own, self._device)

    def _before_step(self) -> None:
        """Called by the engine once gradients are summed over micro-batches, stages and
        replicas."""
        if isinstance(self._weights, PlainStore):
            self._engine.gradient_norm = self._weights.clip()
        if self._keep:
            self._gradients = self._weights.gradients()

    def gather_parameters(self) -> dict[str, Tensor]:
        """All parameters in fp32 by canonical name, on the main process; empty on the others."""
        return self._gather(self._weights.parameters())

    def gather_gradients(self) -> dict[str, Tensor]:
        """Likewise the gradients of the last step, after clipping; needs `keep_gradients`."""
        assert self._keep, "the executor was made without keep_gradients"
        return self._gather(self._gradients)

    def _gather(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        owned = {n: values[n] for n, p in self._parameters.items() if self._owns(p)}
        return group.collect(owned, self._device)

    def _owns(self, parameter: Any) -> bool:
        """Whether this process reports the parameter: the first replica's first stage with it."""
        return self._replica == 0 and not parameter.ds_pipe_replicated

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later run needs, on the main process; empty on the others."""
        owned = {name for name, parameter in self._parameters.items() if self._owns(parameter)}
        return group.collect(owned_part(self._weights.state(), owned), self._device)

    def gather_events(self) -> list[Event]:
        """What the first replica's processes have recorded, on the main process."""
        return group.gather_lists(self.recorder.events if self._replica == 0 else [])


def _check_precision(dtype: torch.dtype, zero: int, replicas: int) -> None:
    assert dtype != torch.float64 or (zero, replicas) == (0, 1), "DeepSpeed sums fp64 in fp32"
    if dtype == torch.bfloat16 and not zero and replicas > 1:
        raise ConfigurationError(
            [
                "`parallel.zero` must be 1 for bf16 on several replicas, but is 0 instead: without "
                "it, DeepSpeed sums gradients in bf16."
            ]
        )


def _check_processes(stages: int, replicas: int) -> None:
    if stages * replicas != dist.get_world_size():
        raise PlanError(
            f"{stages} stages × {replicas} replicas need {stages * replicas} processes, but there "
            f"are {dist.get_world_size()}; start as many as the plan has stages, times "
            "`parallel.replicas`."
        )


def _settings(recipe: TrainingRecipe, micro_batches: int, sharded: bool) -> dict[str, Any]:
    """The engine's configuration. The sharded optimizers clip, otherwise the executor does."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": micro_batches,
        "gradient_clipping": (recipe.clip_norm or 0.0) if sharded else 0.0,
        # Sums in fp32 under bf16 need the optimizer of stage 1; for one replica it shards nothing.
        "zero_optimization": {"stage": int(sharded), "reduce_bucket_size": 1 << 25},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": recipe.is_bf16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},
    }
