"""The import rules: which package may know of which."""

import ast
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Package → what of ours it may import. `errors` and `config` are below everything: each row of the
# table stands above them.
BELOW = ("nmt.errors", "nmt.config", "nmt.files")
ALLOWED: dict[str, tuple[str, ...]] = {
    "nmt.errors": (),
    "nmt.rules": ("nmt.errors",),
    "nmt.config": ("nmt.errors", "nmt.rules.known", "nmt.rules.cells"),
    "nmt.files": ("nmt.errors",),
    "nmt.output_file": BELOW,
    "nmt.logs": (),
    "nmt.markdown": (),
    "nmt.memory": (),
    "nmt.reinforce": ("nmt.errors",),
    "nmt.corpus": BELOW,
    "nmt.text": BELOW,
    "nmt.kernels": ("nmt.rules",),
    "nmt.model": (*BELOW, "nmt.rules", "nmt.kernels"),
    "nmt.placement": (*BELOW, "nmt.reinforce"),
    "nmt.precision": (*BELOW, "nmt.kernels", "nmt.model"),
    "nmt.parallel": (
        *BELOW,
        "nmt.model",
        "nmt.placement.cost",
        "nmt.placement.plan",
        "nmt.placement.tasks",
        "nmt.precision",
    ),
    "nmt.runtime": (*BELOW, "nmt.rules", "nmt.kernels", "nmt.model", "nmt.precision"),
    "nmt.decoding": (
        *BELOW,
        "nmt.corpus",
        "nmt.text",
        "nmt.kernels",
        "nmt.model",
        "nmt.precision",
        "nmt.placement.plan",
        "nmt.runtime",
    ),
    "nmt.batching": (
        *BELOW,
        "nmt.corpus",
        "nmt.memory",
        "nmt.model",
        "nmt.decoding",
    ),
    "nmt.evaluation": (*BELOW, "nmt.markdown", "nmt.decoding"),
    "nmt.training": (
        *BELOW,
        "nmt.corpus",
        "nmt.kernels",
        "nmt.model",
        "nmt.parallel",
        "nmt.precision",
        "nmt.decoding",
        "nmt.evaluation",
        "nmt.rules",
    ),
    "nmt.run": (
        *BELOW,
        "nmt.markdown",
        "nmt.logs",
        "nmt.memory",
        "nmt.corpus",
        "nmt.model",
        "nmt.parallel",
        "nmt.placement",
        "nmt.precision",
        "nmt.evaluation.plots",
        "nmt.training",
    ),
    "nmt.command_line": BELOW,
    "nmt.command": (
        *BELOW,
        "nmt.command_line",
        "nmt.logs",
        "nmt.memory",
        "nmt.parallel.world",
    ),
    "nmt.search": (
        *BELOW,
        "nmt.rules",
        "nmt.markdown",
        "nmt.logs",
        "nmt.memory",
        "nmt.reinforce",
        "nmt.corpus",
        "nmt.parallel.world",
        "nmt.decoding",
        "nmt.evaluation",
        "nmt.run",
        "nmt.command",
        "nmt.command_line",
    ),
    "serve": BELOW,
}
COMMANDS = (
    "nmt.train",
    "nmt.evaluate",
    "nmt.translate",
    "nmt.place",
    "nmt.export",
    "serve.__main__",
)
HYDRA = ("hydra", "omegaconf")
EXTRAS = {
    "starlette": ("serve",),
    "uvicorn": ("serve",),
    "matplotlib": ("nmt.evaluation.plots", "nmt.evaluation.report"),
    "prometheus_client": ("serve",),
    "py3langid": ("serve",),
    "langcodes": ("serve",),
    "playwright": (),
    "schemathesis": (),
    "httpx": (),
    "hypothesis": (),
    "pytest": (),
    "optuna": ("nmt.search",),
}


@dataclass(frozen=True)
class Import:
    """`module` imports `name` (a module, or a name in one)."""

    module: str
    name: str
    line: int
    at_start: bool  # runs when the module is imported

    def __str__(self) -> str:
        return f"{self.module}:{self.line} imports {self.name}"


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def module_name(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {
    module_name(file): file for folder in ("nmt", "serve") for file in (ROOT / folder).rglob("*.py")
}


def is_for_types(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def imports_of(module: str) -> list[Import]:
    found: list[Import] = []

    def visit(node: ast.AST, at_start: bool) -> None:
        if isinstance(node, ast.Import):
            found.extend(Import(module, a.name, node.lineno, at_start) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno} imports relatively"
            assert node.module
            for a in node.names:
                # `from nmt import Translator` names a value, `from nmt.parallel import deepspeed`
                # a module.
                full = f"{node.module}.{a.name}"
                is_module = full in MODULES
                found.append(
                    Import(module, full if is_module else node.module, node.lineno, at_start)
                )
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt) and is_for_types(child):
                visit(child, False)
            else:
                visit(child, at_start and not inside)

    visit(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)
    return found


EVERY = [one for module in MODULES for one in imports_of(module)]


def importers(*names: str) -> set[str]:
    return {one.module for one in EVERY if within(one.name, names)}


def package_of(module: str) -> str:
    parts = module.split(".")
    return "serve" if parts[0] == "serve" else ".".join(parts[:2])


def may_import(module: str, name: str) -> bool:
    package = package_of(module)
    if module in COMMANDS or within(name, (package,)):
        return True
    if module == "nmt":  # its public names load lazily
        return within(name, ("nmt.decoding",))
    if package == "serve":  # the public names only
        return name in ("nmt.batching", "nmt.decoding", "nmt.text", *BELOW)
    return within(name, ALLOWED[package])


def test_the_rules_are_about_files_that_exist() -> None:
    assert len(MODULES) > 30
    assert len(EVERY) > 200
    assert {"nmt.model.graph", "nmt.training.trainer", "serve.app"} <= MODULES.keys()


def test_every_package_has_a_rule() -> None:
    unknown = {package_of(module) for module in MODULES} - ALLOWED.keys() - {*COMMANDS, "nmt"}
    assert not unknown, "give it a line in ALLOWED"


def test_the_rules_have_an_order() -> None:
    """No package may import one whose line stands below its own."""
    order = list(ALLOWED)
    for place, package in enumerate(order):
        for name in ALLOWED[package]:
            assert order.index(".".join(name.split(".")[:2])) < place


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_of_ours(module: str) -> None:
    ours = [one for one in imports_of(module) if within(one.name, ("nmt", "serve"))]
    assert [str(one) for one in ours if not may_import(module, one.name)] == []


def test_nobody_imports_a_command() -> None:
    assert importers(*COMMANDS) == set()
    assert {one for one in importers("nmt.run") if not within(one, ("nmt.run", "nmt.search"))} <= {
        "nmt.train",
        "nmt.place",
    }


def test_the_commands_share_one_file_that_nobody_else_imports() -> None:
    assert importers("nmt.command") <= {*COMMANDS, "nmt.search.start"}


def test_deepspeed_is_imported_in_one_file() -> None:
    assert importers("deepspeed") == {"nmt.parallel.deepspeed"}


def test_that_file_is_imported_by_training_alone_and_late() -> None:
    adapters = [one for one in EVERY if within(one.name, ("nmt.parallel.deepspeed",))]
    assert {one.module for one in adapters} == {"nmt.parallel.deepspeed_executor"}
    users = [one for one in EVERY if within(one.name, ("nmt.parallel.deepspeed_executor",))]
    assert {one.module for one in users} == {"nmt.run.executors"}
    assert not any(one.at_start for one in users)


def test_hydra_is_imported_by_commands_and_search_alone() -> None:
    users = importers(*HYDRA)
    assert users
    assert {user for user in users if not within(user, ("nmt.search",))} <= {
        *COMMANDS,
        "nmt.command",
        "nmt.command_line",
    }


def test_only_executors_know_processes() -> None:
    found = [one for one in EVERY if within(one.name, ("torch.distributed",))]
    allowed = ("nmt.parallel", "nmt.run.processes")  # which holds the store for its workers
    assert [str(one) for one in found if not within(one.module, allowed)] == []


# The model says what is computed; what depends on a processor is in nmt.kernels.
DEVICE_MODULES = (
    *(f"torch.{name}" for name in ("accelerator", "backends", "cpu", "cuda", "distributed")),
    *(f"torch.{name}" for name in ("mps", "ops", "xpu", "_C", "_inductor")),
    "triton",
)
DEVICE_ATTRIBUTES = {"is_cuda", "is_cpu", "is_pinned", "pin_memory", "cuda", "cpu", "get_device"}
DEVICE_WORDS = ("cudnn", "mkldnn", "onednn", "cublas", "nccl", "gloo")  # in names of attributes


def device_knowledge(source: str) -> list[str]:
    """What in a module's source depends on the kind of device that it runs on."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        found += [f"{node.lineno}: {name}" for name in names if is_about_devices(name)]  # type: ignore[attr-defined]
    return found


def is_about_devices(name: str) -> bool:
    """Whether an imported name or an attribute such as `x.device.type` is about kinds of device."""
    last = name.rpartition(".")[2]
    return (
        within(name, DEVICE_MODULES)
        or last in DEVICE_ATTRIBUTES
        or name.endswith("device.type")
        or any(word in last.lower() for word in DEVICE_WORDS)
    )


@pytest.mark.parametrize("module", sorted(m for m in MODULES if within(m, ("nmt.model",))))
def test_the_model_knows_no_devices(module: str) -> None:
    assert device_knowledge(MODULES[module].read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "planted",
    [
        "import torch.distributed as dist",
        "from torch import cuda",
        "from torch.backends import mkldnn",
        "import triton",
        "y = x if x.is_cuda else -x",
        "wide = x.device.type == 'cpu'",
        "kind = device.type",
        "x = x.pin_memory()",
        "x = x.cuda()",
        "torch._cudnn_rnn_flatten_weight(w)",
        "y = torch.ops.mkldnn._linear_pointwise(x, w)",
        "ready = torch.backends.cudnn.enabled",
        "torch.cuda.synchronize()",
    ],
)
def test_a_device_in_the_model_is_found(planted: str) -> None:
    lines = device_knowledge(f"import torch\n\n\ndef f():\n    pass\n\n\n{planted}\n")
    assert lines
    assert lines[0].startswith("8: ")


def test_tensors_may_be_made_where_others_are() -> None:
    allowed = """
import torch
from torch import Tensor, nn
def f(x: Tensor, device: torch.device) -> Tensor:
    "cuda. and distributed are words"
    y = torch.zeros(3, device=x.device)
    return x.to(device).where(x > 0, y.cpu_like)
"""
    assert device_knowledge(allowed) == []


@pytest.mark.parametrize("package", ["nmt.corpus", "nmt.placement", "nmt.rules", "nmt.config"])
def test_these_need_no_torch(package: str) -> None:
    users = importers("torch", "safetensors") - {"nmt.placement.policy"}  # which is learned
    assert {user for user in users if within(user, (package,))} == set()


@pytest.mark.parametrize("extra", EXTRAS)
def test_extras_stay_where_they_are_needed(extra: str) -> None:
    found = [one for one in EVERY if within(one.name, (extra,))]
    assert [str(one) for one in found if not within(one.module, EXTRAS[extra])] == []
    outside = [one for one in found if not within(one.module, ("serve", "nmt.search"))]
    assert [str(one) for one in outside if one.at_start] == [], "must be imported when needed"


def test_no_file_unpickles() -> None:
    assert importers("pickle", "dill", "cloudpickle", "joblib") == set()


# What is loaded in fact


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running `code`."""
    script = f"import sys\n{code}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_import_nmt_is_light() -> None:
    loaded = loaded_by("import nmt; nmt.__version__")
    heavy = {"torch", "numpy", "pydantic", "deepspeed", "hydra", "omegaconf", "sentencepiece"}
    assert loaded & heavy == set()
    assert "nmt.decoding" not in loaded


def test_a_translator_needs_nothing_of_training() -> None:
    loaded = loaded_by("from nmt import Translator")
    assert {"torch", "nmt.decoding.translator"} <= loaded
    unwanted = {"deepspeed", "hydra", "omegaconf", "sacrebleu", "tensorboard", *EXTRAS}
    assert loaded & unwanted == set()
    ours = {package_of(name) for name in loaded if within(name, ("nmt",))} - {"nmt"}
    below = {*ALLOWED["nmt.decoding"], *ALLOWED["nmt.config"]}
    assert ours <= {"nmt.decoding", *(".".join(name.split(".")[:2]) for name in below)}


def test_no_attribute_that_is_not_there() -> None:
    import nmt

    with pytest.raises(AttributeError, match="module 'nmt' has no attribute 'Translater'"):
        _ = nmt.Translater


def test_planning_needs_no_torch() -> None:
    loaded = loaded_by("import nmt.placement.plan, nmt.corpus.prepare, nmt.config")
    assert loaded & {"torch", "deepspeed", "hydra"} == set()


@pytest.mark.parametrize("command", sorted(set(COMMANDS) & MODULES.keys()))
def test_a_command_loads_neither_deepspeed_nor_hydra_before_it_runs(command: str) -> None:
    assert loaded_by(f"import {command}") & {"deepspeed", "hydra", "matplotlib"} == set()
