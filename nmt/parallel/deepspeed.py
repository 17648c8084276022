"""DeepSpeed's pipeline engine, adapted to our stages. The only file that imports deepspeed.

The engine moves messages between the stages in 1F1B order, sums gradients over micro-batches,
stages and replicas, and steps the optimizer; `nmt.parallel.deepspeed_executor` drives it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
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

from nmt.parallel import group
from nmt.parallel.executor import Loss, OptimizerFactory
from nmt.parallel.stage import Stage
from nmt.parallel.trace import Kind, Recorder

Build = Callable[[Sequence[str]], Stage]


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
def quiet() -> Iterator[None]:
    """Silence what DeepSpeed prints while it is set up, and its warnings of optimizers that it has
    not been tested with, such as SGD."""
    logger = logging.getLogger("DeepSpeed")
    logger.setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        yield
    logger.setLevel(logging.WARNING)


class StageModule(PipelineModule):  # type: ignore[misc]
    """DeepSpeed's view of the stages: one layer each."""

    def __init__(
        self,
        build: Build,
        stages: Sequence[Sequence[str]],
        replicas: int,
        shared: Mapping[str, Sequence[int]],
        loss: Loss,
    ) -> None:
        """`shared` maps each tied parameter of several stages to those stages; the backward pass
        starts from `loss` on the last stage."""
        self._shared, self._replicas = shared, replicas
        self._ties: list[tuple[nn.Parameter, dist.ProcessGroup]] = []
        super().__init__(
            [_Spec(build, names) for names in stages],
            num_stages=len(stages),
            loss_fn=loss,
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
        """Make a group for each tied parameter that several stages have. All processes make all
        groups, in the same order."""
        own: dict[str, Any] = self.stage.stack.canonical_parameters()
        for name, stages in self._shared.items():
            for replica in range(self._replicas):
                ranks = [self._grid.stage_to_global(stage_id=s, data=replica) for s in stages]
                members = dist.new_group(ranks)
                if self.global_rank in ranks:
                    self._ties.append((own[name], members))
                    own[name].ds_pipe_replicated = self.global_rank != ranks[0]
        return {}

    def get_tied_weights_and_groups(self) -> list[tuple[nn.Parameter, dist.ProcessGroup]]:
        """What the engine sums over stages before it averages over replicas."""
        return self._ties


class _Spec(LayerSpec):  # type: ignore[misc]
    """A stage that is built only in its own processes."""

    def __init__(self, build: Build, names: Sequence[str]) -> None:
        super().__init__(Stage)
        self._build_stage, self._names = build, names

    def build(self, log: bool = False) -> Stage:  # noqa: ARG002 - as called
        return self._build_stage(self._names)


KINDS: Mapping[type, Kind] = {
    schedule.ForwardPass: "forward",
    schedule.BackwardPass: "backward",
    schedule.SendActivation: "communication",
    schedule.RecvActivation: "waiting",
    schedule.SendGrad: "communication",
    schedule.RecvGrad: "waiting",
    schedule.ReduceGrads: "communication",
    schedule.ReduceTiedGrads: "communication",
    schedule.OptimizerStep: "update",
}


def _recorded(instruction: type, run: Callable[..., None]) -> Callable[..., None]:
    kind = KINDS.get(instruction)

    def recording(engine: StageEngine, **values: Any) -> None:
        if kind is None:
            run(engine, **values)
            return
        name = " ".join([instruction.__name__, *map(str, values.values())])
        together = instruction in (schedule.ReduceGrads, schedule.ReduceTiedGrads)
        with engine.recorder(engine.stage_id, kind, name, together):
            run(engine, **values)

    return recording


class StageEngine(PipelineEngine):  # type: ignore[misc]
    """DeepSpeed's engine with a hook before the optimizer's step."""

    _INSTRUCTION_MAP: ClassVar[dict[type, Callable[..., None]]] = {
        instruction: _recorded(instruction, run)
        for instruction, run in PipelineEngine._INSTRUCTION_MAP.items()
    }
    gradient_norm = 0.0  # of the whole model in the last step, before clipping

    def __init__(
        self,
        module: StageModule,
        optimizer: OptimizerFactory,
        parameters: list[nn.Parameter],
        settings: dict[str, Any],
    ) -> None:
        self.recorder = Recorder()
        self.before_step: Callable[[], None] = lambda: None
        super().__init__(
            args=None,
            model=module,
            optimizer=optimizer,
            model_parameters=parameters,
            mpu=module.mpu(),
            config=settings,
            config_class=DeepSpeedConfig(settings, module.mpu()),
        )
        # Whether DeepSpeed has wrapped the optimizer. The wrapper has a flat fp32 shard of all
        # parameters, and clips gradients itself.
        self.sharded = self.optimizer is not self.basic_optimizer

    def _take_model_step(self, lr_kwargs: Any) -> None:
        self.before_step()
        super()._take_model_step(lr_kwargs)
        if self.sharded:
            self.gradient_norm = float(self.get_global_grad_norm())

    def _aggregate_total_loss(self) -> Tensor:
        loss: Tensor = self.loss
        return loss  # the executor sums losses itself, in double precision
