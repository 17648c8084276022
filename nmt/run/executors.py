"""Building the executor of a configuration: its devices, its plan, and the executor itself."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from nmt.config import LocalConfig, TrainConfig, WavefrontConfig
from nmt.corpus.prepare import PreparedData
from nmt.errors import PlanError
from nmt.model.batch import Batch
from nmt.model.build import build_graph
from nmt.model.clip import Clip
from nmt.model.graph import LayerGraph
from nmt.parallel import group
from nmt.parallel.executor import Executor, TrainingRecipe
from nmt.parallel.local import LocalExecutor
from nmt.parallel.measure import measure_profile
from nmt.parallel.wavefront import WavefrontExecutor
from nmt.parallel.world import is_worker, world
from nmt.placement.cluster import equal_devices
from nmt.placement.cost import Profile
from nmt.placement.plan import Plan, single_device
from nmt.placement.planners import plan_with
from nmt.placement.problem import PlanSearch, Problem
from nmt.placement.simulate import Simulator
from nmt.run.busy import warn_if_busy
from nmt.run.decisions import earlier_decision, keep
from nmt.training.checkpoint import find_checkpoint
from nmt.training.loss import SmoothedCrossEntropy
from nmt.training.optimizer import optimizer_factory

logger = logging.getLogger(__name__)

PLAN = "plan.json"


def find_device(config: TrainConfig) -> str:
    """The kind of device that the run uses, `cpu` or `cuda`.

    Raises:
        PlanError: this machine lacks the GPUs that the configuration or its plan requires.
    """
    if config.placement.file is not None and config.parallel.executor == "wavefront":
        return _device_of_plan(config, Plan.load(config.placement.file))
    on_this_machine = world().local_size if is_worker() else config.parallel.processes
    gpus = torch.cuda.device_count()
    if config.parallel.device == "cuda" and gpus < on_this_machine:
        raise PlanError(
            f"`parallel.device=cuda` needs {on_this_machine} GPUs on this machine, "
            f"but there are {gpus}; use `parallel.device=cpu` or fewer stages."
        )
    if config.parallel.device == "cpu" or gpus < on_this_machine:
        return "cpu"
    return "cuda"


def _device_of_plan(config: TrainConfig, plan: Plan) -> str:
    gpus = torch.cuda.device_count()
    if is_worker() and world().size > config.parallel.replicas:
        here = plan.host_of(world().rank % len(plan.devices))
        devices_here = [name for i, name in enumerate(plan.devices) if plan.host_of(i) == here]
    else:
        plan.require_one_host()
        devices_here = plan.devices
    for name in devices_here:
        kind, _, number = name.partition(":")
        if kind == "cuda" and int(number or 0) >= gpus:
            raise PlanError(
                f"`{config.placement.file}` must name devices of this machine, but names `{name}`, "
                f"and there are {gpus} GPUs; make a new plan on this machine."
            )
    kinds = sorted({name.partition(":")[0] for name in plan.devices})
    if config.parallel.device not in ("auto", *kinds):
        raise PlanError(
            f"`parallel.device` must be auto, or {kinds[0]} as in `{config.placement.file}`, but "
            f"is {config.parallel.device} instead."
        )
    return kinds[0]  # cpu if the plan has both kinds


def training_graph(config: TrainConfig, vocabulary: int) -> LayerGraph:
    """The graph to train; with `precision.clip`, its outputs are clipped to a shrinking bound."""
    precision = config.precision
    clip = None
    if precision.clip is not None:
        clip = Clip(
            precision.clip, precision.clip_start, precision.clip_steps, precision.clip_cells_from
        )
    return build_graph(config.model, vocabulary, clip)


def recipe_of(config: TrainConfig, graph: LayerGraph) -> TrainingRecipe:
    """The seed, loss, optimizer and number format of training, which are the same for every
    executor."""
    return TrainingRecipe(
        graph=graph,
        seed=config.seed,
        loss=SmoothedCrossEntropy(config.training.label_smoothing),
        validation_loss=SmoothedCrossEntropy(0.0),
        optimizer=optimizer_factory(config.optimizer),
        clip_norm=config.optimizer.clip_norm,
        dtype=torch.bfloat16 if config.precision.name == "bf16" else torch.float32,
        averaged=config.training.average.kind == "weights",
    )


def make_executor(
    config: TrainConfig, graph: LayerGraph, data: PreparedData, device: str
) -> Executor:
    """The executor that the configuration names. Saves its plan in the run's folder."""
    parallel = config.parallel
    if isinstance(parallel, LocalConfig):
        plan = single_device(graph.name, graph.names, device, parallel.micro_batches)
        save_plan(config, plan)
        return LocalExecutor(recipe_of(config, graph), device, parallel.micro_batches)
    names, hosts = devices_of(config, device), list[str]()
    if config.placement.file and parallel.executor == "wavefront":
        given = Plan.load(config.placement.file)
        names, hosts = given.devices, given.hosts
    one_process = isinstance(parallel, WavefrontConfig) and parallel.one_process
    group.join(group.backend_for(names, hosts, one_process))
    plan = find_plan(config, graph, data, device)
    if group.is_main():
        save_plan(config, plan)
    if isinstance(parallel, WavefrontConfig):
        return wavefront_executor(config, graph, plan, parallel.replicas)
    # Imported only here because deepspeed takes seconds to import.
    from nmt.parallel.deepspeed_executor import DeepSpeedExecutor

    recipe = recipe_of(config, graph)
    return DeepSpeedExecutor(recipe, plan, device, parallel.replicas, parallel.zero)


def wavefront_executor(
    config: TrainConfig, graph: LayerGraph, plan: Plan, replicas: int
) -> WavefrontExecutor:
    """A wavefront executor that trains by a plan."""
    return WavefrontExecutor(recipe_of(config, graph), plan, replicas)


def follow_plan(config: TrainConfig) -> TrainConfig:
    """The configuration with the number of devices and the granularity of its plan file, if it has
    one.

    Raises:
        PlanError: the file is not a plan, or the executor cannot run it.
        ConfigurationError: the batches cannot be split into the plan's micro-batches.
    """
    if config.placement.file is None:
        return config
    file, plan = config.placement.file, Plan.load(config.placement.file)
    changes: dict[str, Any] = {
        "stages": len(plan.devices),
        "micro_batches": plan.micro_batches,
    }
    if isinstance(config.parallel, WavefrontConfig):
        changes["chunks"] = plan.chunks
        if plan.schedule != "sequential":
            changes["schedule"] = plan.schedule
    elif plan.chunks > 1:
        raise PlanError(
            f"`{file}` must have 1 chunk with `parallel={config.parallel.executor}`, but has "
            f"{plan.chunks} instead; use `parallel=wavefront`, or make a plan with `chunks=[1]`."
        )
    return config.changed(parallel=changes)


def find_plan(config: TrainConfig, graph: LayerGraph, data: PreparedData, device: str) -> Plan:
    """The plan to train with: the one that the configuration names, or that of the run's folder, or
    that of an earlier run like this one, or a new one made by the configured planner from measured
    costs. All processes call this, and get the main one's plan."""
    file = config.placement.file
    if file is not None:
        plan = Plan.load(file)
        plan.validate_against(graph.name, graph.names)
        return plan
    devices = devices_of(config, device)

    def from_before() -> Plan | None:
        plan = plan_of_run(config, graph, devices)
        decision = None if plan else earlier_decision(config, data, "plan")
        if plan is None and decision is None:
            warn_if_busy()  # costs are measured next; the other processes wait
        return Plan.model_validate(decision) if decision else plan

    earlier = group.from_main(from_before)
    if earlier is not None:
        return earlier
    granularity = config.parallel.micro_batches, config.parallel.chunks
    # All processes measure at the same time, as they will work at the same time.
    profile = measure_costs(config, graph, data, [granularity], str(group.own_device(devices, 0)))

    def decide() -> Plan:
        plan = search_plan(config, graph, profile, devices, [granularity], use_all_devices=True)
        keep(config, data, "plan", plan.model_dump(mode="json"))
        return plan

    return group.from_main(decide)


def search_plan(
    config: TrainConfig,
    graph: LayerGraph,
    profile: Profile,
    devices: Sequence[str],
    granularities: Sequence[tuple[int, int]],
    use_all_devices: bool,
) -> Plan:
    """The plan that the configured planner finds from a measured profile. `use_all_devices` places
    layers on every device, for when the processes of all of them have been started."""
    parallel, placement = config.parallel, config.placement
    # DeepSpeed requires contiguous runs of layers, which may begin and end at any layer.
    runs = parallel.executor == "deepspeed"
    groups = [[name] for name in graph.names] if runs else None
    problem = Problem(
        Simulator(profile, equal_devices(devices)),
        granularities,
        parallel.rule,
        groups=groups,
        use_all_devices=use_all_devices,
    )
    search = PlanSearch(problem, placement.evaluations, placement.seconds)
    planner = "exact" if runs and placement.planner in ("expert", "auto") else placement.planner
    plan_with(planner, search, config.seed, placement.learning, placement.policy)
    return problem.plan(search.result()).model_copy(update={"tasks": []})


def first_batch(config: TrainConfig, data: PreparedData) -> Batch:
    """One replica's share of the run's first batch, on which costs are measured."""
    pairs = next(data.batches())
    return Batch.from_rows(pairs.source, pairs.target).split(config.parallel.replicas)[0]


def measure_costs(
    config: TrainConfig,
    graph: LayerGraph,
    data: PreparedData,
    granularities: Sequence[tuple[int, int]],
    device: str,
) -> Profile:
    """Measure the costs of the layers on `first_batch`."""
    batch, recipe = first_batch(config, data), recipe_of(config, graph)
    return measure_profile(recipe, batch, granularities, device)


def devices_of(config: TrainConfig, device: str) -> list[str]:
    """Names of the devices to plan for when no plan is given. If one process drives more devices
    than there are GPUs, several devices are streams of the same GPU."""
    parallel, stages = config.parallel, config.parallel.stages
    one_process = isinstance(parallel, WavefrontConfig) and parallel.one_process
    gpus = torch.cuda.device_count() if one_process else stages
    return [f"{device}:{stage % gpus}" if device == "cuda" else device for stage in range(stages)]


def plan_of_run(config: TrainConfig, graph: LayerGraph, devices: list[str]) -> Plan | None:
    """The plan in the run's folder, if it still fits the configuration. With another one, sums over
    the stages would round differently."""
    file = config.folder / PLAN
    if not file.exists():
        return None
    plan = Plan.load(file)
    parallel = config.parallel
    differences = [
        f"{what} was {before}, is {now}"
        for what, before, now in (
            ("the graph", plan.graph, graph.name),
            ("the layers", sorted(plan.placement), sorted(graph.names)),
            ("the devices", plan.devices, devices),
            ("`parallel.micro_batches`", plan.micro_batches, parallel.micro_batches),
            ("`parallel.chunks`", plan.chunks, parallel.chunks),
            ("the schedule", plan.schedule, parallel.rule),
        )
        if before != now
    ]
    if parallel.executor == "deepspeed" and not plan.is_contiguous(graph.names):
        differences.append("stages were not contiguous, as DeepSpeed needs them")
    if not differences:
        logger.info("keeping the plan of the run: %s", file)
        return plan
    if find_checkpoint(config) is not None:
        logger.warning(
            "The run resumes with another plan, so its numbers will differ from those of an "
            "uninterrupted run: %s",
            "; ".join(differences),
        )
    return None


def save_plan(config: TrainConfig, plan: Plan) -> None:
    """Write plan.json into the run's folder, and log the plan as a table."""
    config.folder.mkdir(parents=True, exist_ok=True)
    plan.save(config.folder / PLAN)
    logger.info("%s", plan.table())
