"""`nmt-place`: plan which device runs each layer, and measure what plans are made from."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch
import yaml

from nmt.command import compose_values, run_command
from nmt.config import PlaceConfig, TrainConfig, read
from nmt.corpus.prepare import prepare
from nmt.errors import PlanError
from nmt.evaluation.plots import Bar, Line, gantt, lines, require_matplotlib
from nmt.parallel.trace import COLOURS, Event, write_trace
from nmt.parallel.world import cores
from nmt.placement.cluster import Cluster
from nmt.placement.compare import PlannerResult, compare, table
from nmt.placement.cost import PLAUSIBLE, Profile
from nmt.placement.plan import Plan
from nmt.placement.planners import plan_with
from nmt.placement.problem import Candidate, PlanSearch, Problem
from nmt.placement.schedule import Timeline
from nmt.placement.shards import split_layers
from nmt.placement.simulate import Simulator
from nmt.precision.bf16 import require_bf16
from nmt.run.decisions import earlier_decision, keep
from nmt.run.measure import measure_layers, measure_link, measure_steps

logger = logging.getLogger(__name__)

STEPS = 2  # timed steps of a plan that is evaluated by running it


def main() -> None:
    """The console script."""
    run_command("nmt-place", PlaceConfig, place, "place")


def place(config: PlaceConfig) -> None:
    """Execute the configured mode.

    Raises:
        PlanError: no plan that was tried fits, or a given plan or profile is not valid.
    """
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    if config.mode == "probe":
        _probe(config)
        return
    require_matplotlib()
    # The coarsest comes first, as a profile requires.
    granularities = sorted({(m, c) for m in config.micro_batches for c in config.chunks})
    if config.mode == "pretrain":
        _pretrain(config, granularities)
        return
    profile = find_profile(config, granularities)
    if config.mode == "profile":
        print(cost_table(profile))
        return
    problem = _problem(config, granularities, profile)
    if config.mode == "compare":
        _compare(config, problem)
    else:
        _plan(config, problem)


def _problem(
    config: PlaceConfig, granularities: Sequence[tuple[int, int]], profile: Profile
) -> Problem:
    if config.shards:
        profile = split_layers(profile, config.shards)
    run = (lambda plan: _measure(config, plan)) if config.measured else None
    simulator = Simulator(profile, Cluster(config.cluster))
    return Problem(simulator, granularities, config.schedule, config.objective, run)


def _pretrain(config: PlaceConfig, granularities: Sequence[tuple[int, int]]) -> None:
    """Train a policy on models of several depths, and save it."""
    # Imported only here because torch's optimizers take a second to import.
    from nmt.placement.policy import pretrain, save_policy

    problems = []
    for layers in config.pretrain.layers:
        changed = config.changed(model=config.model.with_depth(layers).model_dump())
        problems.append(_problem(changed, granularities, find_profile(changed, granularities)))
    placement, updates = config.placement, config.pretrain.updates
    policy = pretrain(problems, updates, config.seed, placement.learning)
    file = Path(config.output) / "policy.safetensors"
    save_policy(policy, file)
    print(f"Trained on {updates * placement.learning.samples} plans for {len(problems)} models.")
    print(f"Written: {file}; use it with `placement=policy placement.policy={file}`.")


def find_profile(config: PlaceConfig, granularities: Sequence[tuple[int, int]]) -> Profile:
    """The profile to plan with: read from the file that the configuration names, or from the cache
    if the same has been measured before, or measured now."""
    if config.profile is not None:
        return Profile.load(Path(config.profile))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if config.precision.name == "bf16":
        require_bf16(device, config.precision.emulate)
    # Devices that work at the same time are measured at the same time.
    together = (
        1 if device == "cuda" else min(len(config.cluster.devices), cores() // config.threads)
    )
    together = max(1, together)
    settings = train_config(config)
    data = prepare(settings.data, settings.seed)
    kind = f"profile of {granularities}, {together} devices at once"
    earlier = earlier_decision(settings, data, kind)
    if earlier is not None:
        profile = read(Profile, earlier)
    else:
        logger.info(
            "measuring the layers for %d granularities, %d devices at once",
            len(granularities),
            together,
        )
        profile = measure_layers(settings, granularities, together)
        if profile.disagreement <= PLAUSIBLE:
            keep(settings, data, kind, profile.model_dump(mode="json"))
    profile.save(Path(config.output) / "profile.json")
    return profile


def train_config(config: PlaceConfig, plan: Path | None = None) -> TrainConfig:
    """conf/train.yaml with the model, data and precision of `config`. With a plan, the wavefront
    executor runs it."""
    values = compose_values("train")
    values["precision"] |= config.precision.model_dump()
    values |= {
        "model": config.model.model_dump(),
        "data": config.data.model_dump(),
        "seed": config.seed,
        "name": "placement",
    }
    values["parallel"]["threads"] = config.threads
    if plan is not None:
        loaded = Plan.load(plan)
        values |= {
            "parallel": compose_values("train", "parallel=wavefront")["parallel"]
            | {
                "stages": len(loaded.devices),
                "micro_batches": loaded.micro_batches,
                "chunks": loaded.chunks,
                "schedule": config.schedule,
                "threads": config.threads,
            },
            "placement": compose_values("train", "placement=file")["placement"]
            | {"file": str(plan)},
        }
    return read(TrainConfig, values)


def _measure(config: PlaceConfig, plan: Plan) -> float:
    """Seconds of a real step of a plan, measured by running it in worker processes."""
    file = (Path(config.output) / "tried-plan.json").absolute()
    plan.model_copy(update={"tasks": []}).save(file)
    measurement = measure_steps(train_config(config, file), STEPS)
    seconds = sum(measurement.seconds) / len(measurement.seconds)
    logger.info("measured %.3f s, predicted %.3f s", seconds, plan.seconds)
    return seconds


def _plan(config: PlaceConfig, problem: Problem) -> None:
    placement = config.placement
    if placement.file is not None:
        problem, candidate = _candidate_of(config, problem, Plan.load(placement.file))
    else:
        search = PlanSearch(problem, placement.evaluations, placement.seconds)
        plan_with(placement.planner, search, config.seed, placement.learning, placement.policy)
        candidate = search.result()
        logger.info("tried %d plans in %.1f s", search.used, search.elapsed)
    plan = problem.plan(candidate).model_copy(update={"tasks": []})  # each batch has its own order
    folder = Path(config.output)
    plan.save(folder / "plan.json")
    predicted = problem.simulate(candidate)
    _draw(folder, problem, predicted.timeline)
    print(plan.table())
    speed_up = problem.single_device_seconds / predicted.seconds
    print(
        f"single device: {1e3 * problem.single_device_seconds:.1f} ms; simulated speed-up of this "
        f"plan: {speed_up:.2f}"
    )
    if reason := problem.why_impossible(predicted.seconds):
        logger.warning("%s", reason)
    print(f"Written: {folder / 'plan.json'}, {folder / 'predicted.html'}")


def _candidate_of(config: PlaceConfig, problem: Problem, plan: Plan) -> tuple[Problem, Candidate]:
    """A given plan as a candidate of the problem in which each layer is a group.

    Raises:
        PlanError: the plan is for another graph, other devices, or another granularity.
    """
    plan.validate_against(problem.profile.graph, list(problem.profile.layers))
    file, granularity = config.placement.file, (plan.micro_batches, plan.chunks)
    if granularity not in problem.granularities:
        raise PlanError(
            f"`micro_batches` and `chunks` must include {granularity[0]} and {granularity[1]}, "
            f"the numbers of `{file}`, but do not."
        )
    cluster = problem.cluster
    unused = list(enumerate(zip(cluster.hosts, cluster.names, strict=True)))
    positions = []
    for i, device in enumerate(plan.devices):
        match = next((entry for entry in unused if entry[1] == (plan.host_of(i), device)), None)
        if match is None:
            raise PlanError(
                f"`{file}` must be for devices of `cluster={config.cluster.name}`, but has more "
                f"devices `{device}` than the cluster."
            )
        unused.remove(match)
        positions.append(match[0])
    groups = [[name] for name in problem.profile.layers]
    layerwise = Problem(
        problem.simulator, problem.granularities, problem.rule, problem.objective, groups=groups
    )
    devices = tuple(positions[plan.placement[name]] for name in problem.profile.layers)
    return layerwise, Candidate(devices, problem.granularities.index(granularity))


def _draw(folder: Path, problem: Problem, timeline: Timeline) -> None:
    """Draw the predicted timeline in the same way as the timelines of runs."""
    events = [
        Event(
            device,
            "backward" if task.backward else "forward",
            str(task),
            timeline.start[task],
            timeline.end[task],
        )
        for device, order in enumerate(timeline.orders)
        for task in order
    ]
    names = [f"{i} {name}" for i, name in enumerate(problem.cluster.names)]
    title = f"{problem.profile.graph}, predicted"
    write_trace(folder, events, names, title, "predicted")
    bars = [Bar(event.device, event.kind, event.start, event.end) for event in events]
    gantt(folder / "predicted.png", bars, names, COLOURS, title)


def _compare(config: PlaceConfig, problem: Problem) -> None:
    seeds = range(config.seed, config.seed + config.seeds)
    results = compare(problem, config.planners, config.placement, seeds)
    folder, text = Path(config.output), table(problem, results)
    (folder / "compare.md").write_text(text + "\n", encoding="utf-8")
    values = [asdict(result) for result in results]
    (folder / "compare.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    lines(
        folder / "compare.png",
        [_line(result, config.placement.evaluations) for result in results if not result.reason],
        "evaluations",
        "best step, ms",
        f"{problem.profile.graph} on {problem.cluster.config.name}",
    )
    print(text)
    print(f"Written: {folder / 'compare.md'}, {folder / 'compare.png'}")


def _line(result: PlannerResult, evaluations: int) -> Line:
    """The history of a planner's median attempt, in milliseconds, extended to `evaluations`."""
    attempts = sorted(result.attempts, key=lambda attempt: attempt.best)
    history = attempts[len(attempts) // 2].history
    points = [(tried, 1e3 * seconds) for tried, seconds in history]
    return Line(result.planner, [*points, (max(evaluations, points[-1][0]), points[-1][1])])


def _probe(config: PlaceConfig) -> None:
    gpus = torch.cuda.device_count()
    link = measure_link("nccl" if gpus > 1 else "gloo")
    kind = "cuda" if gpus > 1 else "cpu"
    count = gpus if gpus > 1 else 2
    cluster = {
        "name": "here",
        "devices": [
            {"name": f"cuda:{i}" if kind == "cuda" else "cpu", "speed": 1.0, "memory": None}
            for i in range(count)
        ],
        "link": link.model_dump(),
        "pairs": [],
    }
    text = yaml.safe_dump(cluster, sort_keys=False)
    (Path(config.output) / "cluster.yaml").write_text(text, encoding="utf-8")
    print(text, end="")
    print(f"# Written: {Path(config.output) / 'cluster.yaml'}; copy it to conf/cluster.")


def cost_table(profile: Profile) -> str:
    """The costs of all layers as a Markdown table."""
    first, total = profile.measurements[0], sum(profile.layer_seconds().values())
    lines_ = [
        f"{profile.graph} on {profile.device}, {profile.precision}, batch {profile.batch}",
        "",
        f"One task of {first.micro_batches} × {first.chunks}:",
        "",
        "| layer | forward, ms | backward, ms | share | output, MB | kept, MB | parameters, MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, layer in profile.layers.items():
        lines_.append(
            f"| {name} | {1e3 * first.forward[name]:.2f} | {1e3 * first.backward[name]:.2f} | "
            f"{profile.layer_seconds()[name] / total:.1%} | {layer.output_bytes / 1e6:.2f} | "
            f"{layer.kept_bytes / 1e6:.2f} | {layer.parameter_bytes / 1e6:.2f} |"
        )
    if profile.message_overhead:
        lines_ += ["", f"Each MB sent or received: {1e9 * profile.message_overhead:.3f} ms"]
    return "\n".join(lines_)


if __name__ == "__main__":
    main()
