"""`nmt-place`: which layer should run on which device? Plans, and what they are made from."""

from __future__ import annotations

import hashlib
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
from nmt.placement.cost import Profile
from nmt.placement.plan import Plan
from nmt.placement.planners import plan_with
from nmt.placement.problem import Candidate, PlanSearch, Problem
from nmt.placement.schedule import Timeline
from nmt.placement.shards import split_layers
from nmt.placement.simulate import Simulator
from nmt.precision.bf16 import require_bf16
from nmt.run.measure import measure_layers, measure_link, measure_steps

logger = logging.getLogger(__name__)

STEPS = 2  # of a plan that is tried by running it


def main() -> None:
    """The console script."""
    run_command("nmt-place", PlaceConfig, place, "place")


def place(config: PlaceConfig) -> None:
    """Do what the mode says.

    Raises:
        PlanError: no plan fits.
    """
    folder = Path(config.output)
    folder.mkdir(parents=True, exist_ok=True)
    if config.mode == "probe":
        _probe(config)
        return
    require_matplotlib()
    # The coarsest first: it stands for one device alone.
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
    """A policy that has learned from models of several depths, saved."""
    from nmt.placement.policy import pretrain, save_policy  # torch's optimizers take a second

    problems = []
    for layers in config.pretrain.layers:
        one = config.changed(model=config.model.with_depth(layers).model_dump())
        problems.append(_problem(one, granularities, find_profile(one, granularities)))
    placement, updates = config.placement, config.pretrain.updates
    policy = pretrain(problems, updates, config.seed, placement.learning)
    file = Path(config.output) / "policy.safetensors"
    save_policy(policy, file)
    print(f"Learned from {updates * placement.learning.samples} plans of {len(problems)} models.")
    print(f"Written: {file}; ask it with `placement=policy placement.policy={file}`.")


def find_profile(config: PlaceConfig, granularities: Sequence[tuple[int, int]]) -> Profile:
    """Read from the file that is named; or measured, unless the same has been measured before."""
    if config.profile is not None:
        return Profile.load(Path(config.profile))
    kind = "cuda" if torch.cuda.is_available() else "cpu"
    if config.precision.name == "bf16":
        require_bf16(kind, config.precision.emulate)
    # Devices that work at the same time are measured at the same time.
    together = 1 if kind == "cuda" else min(len(config.cluster.devices), cores() // config.threads)
    together = max(1, together)
    settings = train_config(config)
    data = prepare(settings.data, settings.seed)
    identity = [
        config.model.model_dump(mode="json"),
        data.vocabulary.fingerprint,
        settings.data.batch.model_dump(mode="json"),
        [
            config.precision.name,
            kind,
            config.threads,
            together,
            "profile of version 0.2",  # not as those that were kept before
            granularities,
            torch.__version__,
            _processor(),
        ],
    ]
    digest = hashlib.blake2b(json.dumps(identity).encode(), digest_size=8).hexdigest()
    cached = Path(config.data.cache) / "profiles" / f"{digest}.json"
    if cached.exists():
        logger.info("profile: %s, measured before", cached)
        profile = Profile.load(cached)
    else:
        logger.info(
            "measuring the layers for %d granularities, %d devices at once",
            len(granularities),
            together,
        )
        profile = measure_layers(settings, granularities, together)
        profile.save(cached)
    profile.save(Path(config.output) / "profile.json")
    return profile


def train_config(config: PlaceConfig, plan: Path | None = None) -> TrainConfig:
    """conf/train.yaml with this model, data and precision; with a plan, on the wavefront."""
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
        found = Plan.load(plan)
        values |= {
            "parallel": compose_values("train", "parallel=wavefront")["parallel"]
            | {
                "stages": len(found.devices),
                "micro_batches": found.micro_batches,
                "chunks": found.chunks,
                "schedule": config.schedule,
                "threads": config.threads,
            },
            "placement": compose_values("train", "placement=file")["placement"]
            | {"file": str(plan)},
        }
    return read(TrainConfig, values)


def _measure(config: PlaceConfig, plan: Plan) -> float:
    """Seconds of a real step, by running the plan's processes."""
    file = (Path(config.output) / "tried-plan.json").absolute()
    plan.model_copy(update={"tasks": []}).save(file)
    found = measure_steps(train_config(config, file), STEPS)
    seconds = sum(found.seconds) / len(found.seconds)
    logger.info("measured %.3f s, predicted %.3f s", seconds, plan.seconds)
    return seconds


def _plan(config: PlaceConfig, problem: Problem) -> None:
    placement = config.placement
    if placement.file is not None:
        problem, choice = _given(config, problem, Plan.load(placement.file))
    else:
        search = PlanSearch(problem, placement.evaluations, placement.seconds)
        plan_with(placement.planner, search, config.seed, placement.learning, placement.policy)
        choice = search.result()
        logger.info("%d plans tried in %.1f s", search.used, search.elapsed)
    plan = problem.plan(choice).model_copy(update={"tasks": []})  # each batch has its own order
    folder = Path(config.output)
    plan.save(folder / "plan.json")
    predicted = problem.simulate(choice)
    _draw(folder, problem, predicted.timeline)
    print(plan.table())
    print(
        f"one device alone: {1e3 * problem.single_device_seconds:.1f} ms; this plan is "
        f"{problem.single_device_seconds / predicted.seconds:.2f} times faster, simulated"
    )
    print(f"Written: {folder / 'plan.json'}, {folder / 'predicted.html'}")


def _given(config: PlaceConfig, problem: Problem, plan: Plan) -> tuple[Problem, Candidate]:
    """A plan as a choice, layer by layer.

    Raises:
        PlanError: it is for another graph, other devices, or another granularity.
    """
    plan.validate_against(problem.profile.graph, list(problem.profile.layers))
    file, granularity = config.placement.file, (plan.micro_batches, plan.chunks)
    if granularity not in problem.granularities:
        raise PlanError(
            f"`micro_batches` and `chunks` must have {granularity[0]} and {granularity[1]} among "
            f"them, as `{file}`, but do not."
        )
    cluster = problem.cluster
    left = list(enumerate(zip(cluster.hosts, cluster.names, strict=True)))
    where = []
    for i, device in enumerate(plan.devices):
        found = next((entry for entry in left if entry[1] == (plan.host_of(i), device)), None)
        if found is None:
            raise PlanError(
                f"`{file}` must be for devices of `cluster={config.cluster.name}`, but has one "
                f"`{device}` more than there is."
            )
        left.remove(found)
        where.append(found[0])
    groups = [[name] for name in problem.profile.layers]
    single = Problem(
        problem.simulator, problem.granularities, problem.rule, problem.objective, groups=groups
    )
    devices = tuple(where[plan.placement[name]] for name in problem.profile.layers)
    return single, Candidate(devices, problem.granularities.index(granularity))


def _draw(folder: Path, problem: Problem, timeline: Timeline) -> None:
    """The predicted timeline, as those of runs are drawn."""
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
    compared = compare(problem, config.planners, config.placement, seeds)
    folder, text = Path(config.output), table(problem, compared)
    (folder / "compare.md").write_text(text + "\n", encoding="utf-8")
    values = [asdict(one) for one in compared]
    (folder / "compare.json").write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
    lines(
        folder / "compare.png",
        [_line(one, config.placement.evaluations) for one in compared if not one.reason],
        "evaluations",
        "best step, ms",
        f"{problem.profile.graph} on {problem.cluster.config.name}",
    )
    print(text)
    print(f"Written: {folder / 'compare.md'}, {folder / 'compare.png'}")


def _line(one: PlannerResult, evaluations: int) -> Line:
    """The attempt that is the median."""
    middle = sorted(one.attempts, key=lambda attempt: attempt.best)[len(one.attempts) // 2]
    points = [(tried, 1e3 * seconds) for tried, seconds in middle.history]
    return Line(one.planner, [*points, (max(evaluations, points[-1][0]), points[-1][1])])


def _probe(config: PlaceConfig) -> None:
    gpus = torch.cuda.device_count()
    link = measure_link("nccl" if gpus > 1 else "gloo")
    kind = "cuda" if gpus > 1 else "cpu"
    count = gpus if gpus > 1 else 2
    found = {
        "name": "here",
        "devices": [
            {"name": f"cuda:{i}" if kind == "cuda" else "cpu", "speed": 1.0, "memory": None}
            for i in range(count)
        ],
        "link": link.model_dump(),
        "pairs": [],
    }
    text = yaml.safe_dump(found, sort_keys=False)
    (Path(config.output) / "cluster.yaml").write_text(text, encoding="utf-8")
    print(text, end="")
    print(f"# Written: {Path(config.output) / 'cluster.yaml'}; copy it to conf/cluster.")


def cost_table(profile: Profile) -> str:
    """What every layer costs, as Markdown."""
    first, total = profile.measurements[0], sum(profile.layer_seconds().values())
    lines_ = [
        f"{profile.graph} on {profile.device}, {profile.precision}, batch {profile.batch}",
        "",
        f"One task of {first.micro_batches} × {first.chunks}:",
        "",
        "| layer | forward, ms | backward, ms | part | output, MB | kept, MB | parameters, MB |",
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


def _processor() -> str:
    """Which processor this is, so that a profile of another one is not taken for its own."""
    file = Path("/proc/cpuinfo")
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines_ = file.read_text("utf-8").splitlines() if file.exists() else []
    return next((line for line in lines_ if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
