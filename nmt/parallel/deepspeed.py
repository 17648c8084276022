"""The executor for contiguous stages in several processes, over DeepSpeed's pipeline engine.

The only file that imports deepspeed. One process for each stage of each data parallel copy; the
engine moves messages between the stages in 1F1B order, sums gradients over copies, and steps the
optimizer. Where it would compute something else than one process does, this file does it instead:
DeepSpeed 0.19.8 clips fp32 gradients by the norm of the first stage alone, reports losses in fp32,
and starts the fp32 parameters behind bf16 layers from rounded values.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

if not torch.cuda.is_available():
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or else deepspeed warns that it found no GPU

import deepspeed
from deepspeed.accelerator import get_accelerator, set_accelerator
from deepspeed.pipe import LayerSpec, PipelineModule
from deepspeed.runtime.config import DeepSpeedConfig
from deepspeed.runtime.pipe import schedule
from deepspeed.runtime.pipe.engine import PipelineEngine

from nmt.errors import ConfigurationError, PlanError
from nmt.model.batch import Batch
from nmt.model.dropout import Randomness
from nmt.model.graph import LayerGraph
from nmt.parallel import group
from nmt.parallel.executor import Loss, OptimizerFactory, StepResult
from nmt.parallel.group import GroupMember, from_main, is_main
from nmt.parallel.stage import Stage, parameters_on_several
from nmt.parallel.state import owned_part
from nmt.parallel.stores import Parameters, PlainStore, ShardedStore
from nmt.parallel.trace import Event, Kind, Recorder
from nmt.placement.plan import Plan

__all__ = ["DeepSpeedExecutor", "from_main", "is_main", "start"]


def start(device: str) -> torch.device:
    """Join the processes of this run (`device` is cpu or cuda) → this process's device."""
    if get_accelerator().device_name() != device:
        set_accelerator(_accelerator(device))
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    # None of DeepSpeed's own kernels is used: do not look for a compiler, nor build any.
    deepspeed.ops.__compatible_ops__ = {}
    group.join("nccl" if device == "cuda" else "gloo")
    # DeepSpeed calls what torch has renamed.
    warnings.filterwarnings("ignore", category=FutureWarning, module="torch.distributed")
    deepspeed.init_distributed(
        dist_backend=dist.get_backend(), auto_mpi_discovery=False, verbose=False
    )
    return group.messenger()


def _accelerator(device: str) -> Any:
    if device == "cuda":
        from deepspeed.accelerator.cuda_accelerator import CUDA_Accelerator

        return CUDA_Accelerator()
    from deepspeed.accelerator.cpu_accelerator import CPU_Accelerator

    return CPU_Accelerator()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what DeepSpeed prints and warns of while it is set up (an optimizer such as SGD that it
    has not been tested with) from a command's output."""
    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield
    logger.setLevel(logging.WARNING)


class DeepSpeedExecutor(GroupMember):
    """Contiguous runs of layers in a process each, and data parallel copies of them all.

    The global batch is cut into copies × micro-batches pieces, as `LocalExecutor` cuts it into that
    many; copy c has the c-th run of them. Ranks are numbered stage by stage. At one time, a process
    can use one executor only.

    Raises:
        PlanError: the plan is not for this graph or this number of processes, or not contiguous.
        ConfigurationError: this precision is not to be had with this `zero`.
    """

    def __init__(
        self,
        graph: LayerGraph,
        *,
        plan: Plan,
        copies: int,
        zero: int,
        seed: int,
        device: str,
        micro_batches: int,
        loss: Loss,
        optimizer: OptimizerFactory,
        clip_norm: float | None,
        dtype: torch.dtype = torch.float32,
        keep_gradients: bool = False,
    ) -> None:
        plan.validate_against(graph.name, graph.names)
        stages = plan.stages(graph.names)
        _check_precision(dtype, zero, copies)
        self._device = start(device)
        _check_processes(len(stages), copies)
        self._copies, self._micro_batches = copies, micro_batches
        self._loss, self._clip_norm, self._keep = loss, clip_norm, keep_gradients
        self._gradients: dict[str, Tensor] = {}
        self._randomness = Randomness(seed)
        self._losses: list[Tensor] = []  # of this step's micro-batches, on the last stage
        self._scale: float | None = None  # of the losses; None outside of training
        double = dtype == torch.float64

        def build(names: Sequence[str]) -> Stage:
            working = torch.float64 if double else torch.float32
            return Stage(graph, names, seed, working, self._randomness)

        with _quiet():
            module = _Module(build, stages, copies, parameters_on_several(graph, stages), self)
            self._stage, self._copy = module.stage, module.mpu().get_data_parallel_id()
            self._parameters: Parameters = self._stage.stack.canonical_parameters()
            initial = {n: p.detach().cpu().clone() for n, p in self._parameters.items()}
            sharded = dtype == torch.bfloat16 or (zero == 1 and copies > 1)
            settings = _settings(micro_batches, dtype, sharded, clip_norm)
            self._engine = _Engine(module, optimizer, list(self._parameters.values()), settings)
        self._engine.before_step = self._before_step
        self.recorder = self._engine.recorder
        if copies == 1:
            self._engine.pipeline_enable_backward_allreduce = False  # nobody to average with
        self._store = self._make_store(sharded)
        if dtype == torch.bfloat16:
            assert isinstance(self._store, ShardedStore)
            self._store.set_parameters(initial)

    def _make_store(self, sharded: bool) -> PlainStore | ShardedStore:
        optimizer = self._engine.basic_optimizer
        if sharded:
            return ShardedStore(self._engine.optimizer, optimizer, self._parameters)
        stages = self._engine.grid.get_model_parallel_group()
        return PlainStore(optimizer, self._parameters, self._clip_norm, stages)

    def train_step(self, batch: Batch, step: int, learning_rate: float) -> StepResult:
        """One optimizer step on the global batch."""
        tokens = batch.tokens
        self._randomness.begin_step(step)
        for parameters in self._engine.optimizer.param_groups:
            parameters["lr"] = learning_rate
        pieces = batch.cut(self._copies * self._micro_batches)
        first = self._copy * self._micro_batches
        # DeepSpeed divides by the micro-batches and averages over the copies.
        self._scale = self._copies * self._micro_batches / tokens
        # It does so by the micro-batches with the main loss only, by the copies with all gradients.
        self._stage.loss_scale = self._copies / tokens
        feed = self._feed(pieces[first : first + self._micro_batches])
        self._engine.train_batch(feed)
        loss = self._sum_losses() / tokens
        norm = self._engine.gradient_norm
        if isinstance(self._store, ShardedStore) and self._clip_norm is not None:
            clipped = min(1.0, self._clip_norm / (norm + 1e-6))
            self._gradients = {n: g * clipped for n, g in self._gradients.items()}
        return StepResult.of(loss, norm, tokens)

    def validation_loss(self, batches: Iterable[Batch]) -> float:
        """Mean loss of a target token, nothing dropped. Each batch is one micro-batch; the copies
        share them, and may have different numbers of them."""
        everything = list(batches)
        mine = everything[self._copy :: self._copies]
        self._scale, self._stage.loss_scale = None, 0.0
        with self.recorder.paused():
            self._engine.eval_batch(
                self._feed(mine), reduce_output=None, bcast_loss=False, num_micro_batches=len(mine)
            )
        return self._sum_losses() / sum(batch.tokens for batch in everything)

    def _feed(self, pieces: Sequence[Batch]) -> Iterator[tuple[Tensor, Tensor]]:
        """Hand the micro-batches to the stage → what DeepSpeed loads: numbers on the first stage,
        labels on the last one."""
        self._losses.clear()
        self._stage.pieces = [piece.to(self._device) for piece in pieces]
        return ((torch.tensor(i), piece.labels) for i, piece in enumerate(self._stage.pieces))

    def piece_loss(self, logits: Tensor, piece_labels: Tensor) -> Tensor:
        """What the last stage goes backward from."""
        loss = self._loss(logits, piece_labels)
        self._losses.append(loss.detach())
        return loss if self._scale is None else loss * self._scale

    def _sum_losses(self) -> float:
        self._stage.pieces = ()
        mine = sum((float(loss) for loss in self._losses), 0.0)
        return group.total(mine, self._device)

    def _before_step(self) -> None:
        """Called by the engine when gradients are summed over micro-batches, stages and copies."""
        if isinstance(self._store, PlainStore):
            self._engine.gradient_norm = self._store.clip()
        if self._keep:
            self._gradients = self._store.gradients()

    def gather_parameters(self) -> dict[str, Tensor]:
        """All parameters in fp32 by canonical name, on the main process; empty on the others."""
        return self._gather(self._store.parameters())

    def gather_gradients(self) -> dict[str, Tensor]:
        """Likewise the gradients of the last step, after clipping; needs `keep_gradients`."""
        assert self._keep, "the executor was made without keep_gradients"
        return self._gather(self._gradients)

    def _gather(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mine = {n: values[n] for n, p in self._parameters.items() if self._owns(p)}
        return group.collect(mine, self._device)

    def _owns(self, parameter: Any) -> bool:
        """Whether this process speaks for the parameter: the first copy's first stage with it."""
        return self._copy == 0 and not parameter.ds_pipe_replicated

    def update_average(self, decay: float) -> None:
        """Take the parameters into the running average as they are now, each process its own."""
        self._store.update_average(decay)

    @property
    def has_average(self) -> bool:
        """Whether the average has been updated."""
        return self._store.has_average

    def using_average(self) -> AbstractContextManager[None]:
        """Inside, the average takes the place of the parameters."""
        return self._store.using_average()

    def using(self, values: Mapping[str, Tensor]) -> AbstractContextManager[None]:
        """Inside, values by canonical name take the place of the parameters."""
        return self._store.using(values)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that a later run needs, on the main process; empty on the others."""
        owned = {name for name, parameter in self._parameters.items() if self._owns(parameter)}
        return group.collect(owned_part(self._store.state(), owned), self._device)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state; every process is given all of it."""
        self._store.load(state)

    def gather_events(self) -> list[Event]:
        """What the first copy's processes have recorded, on the main process."""
        return group.gather_lists(self.recorder.events if self._copy == 0 else [])


def _check_precision(dtype: torch.dtype, zero: int, copies: int) -> None:
    assert dtype != torch.float64 or (zero, copies) == (0, 1), "DeepSpeed sums fp64 in fp32"
    if dtype == torch.bfloat16 and not zero and copies > 1:
        raise ConfigurationError(
            [
                "`parallel.zero` must be 1 for bf16 on several copies, but is 0 instead: without, "
                "DeepSpeed sums gradients in bf16."
            ]
        )


def _check_processes(stages: int, copies: int) -> None:
    if stages * copies != dist.get_world_size():
        raise PlanError(
            f"{stages} stages × {copies} copies need {stages * copies} processes, but there are "
            f"{dist.get_world_size()}; start as many as the plan has stages, times "
            "`parallel.copies`."
        )


def _settings(
    micro_batches: int, dtype: torch.dtype, sharded: bool, clip_norm: float | None
) -> dict[str, Any]:
    """The engine's configuration. The sharded optimizers clip, otherwise the executor does."""
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": micro_batches,
        "gradient_clipping": (clip_norm or 0.0) if sharded else 0.0,
        # Sums in fp32 under bf16 need the optimizer of stage 1; for one copy it shards nothing.
        "zero_optimization": {"stage": int(sharded), "reduce_bucket_size": 1 << 25},
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "wall_clock_breakdown": False,
        "timers": {"throughput": {"enabled": False}},
    }


class _Module(PipelineModule):  # type: ignore[misc]
    """DeepSpeed's view of the stages: one layer each."""

    def __init__(
        self,
        build: Callable[[Sequence[str]], Stage],
        stages: Sequence[Sequence[str]],
        copies: int,
        shared: Mapping[str, Sequence[int]],
        executor: DeepSpeedExecutor,
    ) -> None:
        self._shared, self._copies = shared, copies
        self._ties: list[tuple[nn.Parameter, dist.ProcessGroup]] = []
        super().__init__(
            [_Spec(build, names) for names in stages],
            num_stages=len(stages),
            loss_fn=executor.piece_loss,
            dynamic_shape=True,
        )

    @property
    def stage(self) -> Stage:
        """This process's layers."""
        stage: Stage = self.forward_funcs[0]
        return stage

    def _partition_layers(self, method: str = "") -> None:  # noqa: ARG002 - as called
        self.parts = list(range(self.num_stages + 1))
        self._set_bounds(start=self.stage_id, stop=self.stage_id + 1)

    def _index_tied_modules(self) -> dict[str, Any]:
        """Make a group for each tied parameter that several stages have. All processes take part
        in making each group, in the same order."""
        own: Parameters = self.stage.stack.canonical_parameters()
        for name, stages in self._shared.items():
            for copy in range(self._copies):
                ranks = [self._grid.stage_to_global(stage_id=s, data=copy) for s in stages]
                members = dist.new_group(ranks)
                if self.global_rank in ranks:
                    self._ties.append((own[name], members))
                    own[name].ds_pipe_replicated = self.global_rank != ranks[0]
        return {}

    def get_tied_weights_and_groups(self) -> list[tuple[nn.Parameter, dist.ProcessGroup]]:
        """What the engine sums over stages before it averages over copies."""
        return self._ties


class _Spec(LayerSpec):  # type: ignore[misc]
    """A stage that is built only in its own processes."""

    def __init__(self, build: Callable[[Sequence[str]], Stage], names: Sequence[str]) -> None:
        super().__init__(Stage)
        self._build_stage, self._names = build, names

    def build(self, log: bool = False) -> Stage:  # noqa: ARG002 - as called
        return self._build_stage(self._names)


KINDS: Mapping[type, Kind] = {
    schedule.ForwardPass: "forward",
    schedule.BackwardPass: "backward",
    schedule.SendActivation: "communication",
    schedule.RecvActivation: "communication",
    schedule.SendGrad: "communication",
    schedule.RecvGrad: "communication",
    schedule.ReduceGrads: "communication",
    schedule.ReduceTiedGrads: "communication",
    schedule.OptimizerStep: "update",
}


def _recorded(instruction: type, run: Callable[..., None]) -> Callable[..., None]:
    kind = KINDS.get(instruction)

    def recording(engine: _Engine, **values: Any) -> None:
        if kind is None:
            run(engine, **values)
            return
        name = " ".join([instruction.__name__, *map(str, values.values())])
        with engine.recorder(engine.stage_id, kind, name):
            run(engine, **values)

    return recording


class _Engine(PipelineEngine):  # type: ignore[misc]
    """DeepSpeed's engine with a hook before the optimizer's step."""

    _INSTRUCTION_MAP: ClassVar[dict[type, Callable[..., None]]] = {
        instruction: _recorded(instruction, run)
        for instruction, run in PipelineEngine._INSTRUCTION_MAP.items()
    }
    before_step: Callable[[], None]
    gradient_norm = 0.0  # of the whole model in the last step, before clipping

    def __init__(
        self,
        module: _Module,
        optimizer: OptimizerFactory,
        parameters: list[nn.Parameter],
        settings: dict[str, Any],
    ) -> None:
        self.recorder = Recorder()
        super().__init__(
            args=None,
            model=module,
            optimizer=optimizer,
            model_parameters=parameters,
            mpu=module.mpu(),
            config=settings,
            config_class=DeepSpeedConfig(settings, module.mpu()),
        )
        # A wrapper that holds flat parts of all parameters in fp32, and clips by itself.
        self.sharded = self.optimizer is not self.basic_optimizer

    def _take_model_step(self, lr_kwargs: Any) -> None:
        self.before_step()
        super()._take_model_step(lr_kwargs)
        if self.sharded:
            self.gradient_norm = float(self.get_global_grad_norm())

    def _aggregate_total_loss(self) -> Tensor:
        loss: Tensor = self.loss
        return loss  # the executor sums losses itself, in double precision
