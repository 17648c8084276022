"""Names of other packages that are private or undocumented, all in one table.

A package may drop them in any release. So pyproject.toml bounds the versions of the packages in
this table from above, and a version that lacks one of the names fails here, with what to look at,
instead of in the middle of a training.
"""

from __future__ import annotations

import ast
import inspect
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
NAMED_TUPLES = {"_replace", "_asdict"}  # documented in spite of their names
STANDARD = {"_exit"}  # os._exit, likewise


@dataclass(frozen=True)
class Private:
    """A name of another package."""

    package: str
    module: str
    name: str  # dotted, in the module; or a word of its source, where `in_source`
    used_in: str
    why: str
    in_source: bool = False  # an attribute that instances get while they work

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"

    def exists(self) -> bool:
        found: object = import_module(self.module)
        if self.in_source:
            assert isinstance(found, ModuleType)
            return self.name in inspect.getsource(found)
        for part in self.name.split("."):
            if not hasattr(found, part):
                return False
            found = getattr(found, part)
        return True


PIPE = "deepspeed.runtime.pipe"
DEEPSPEED, STORES = "nmt/parallel/deepspeed.py", "nmt/parallel/stores.py"
EXECUTOR = "nmt/parallel/deepspeed_executor.py"
PRODUCTS, FORMATS = "nmt/kernels/products.py", "nmt/precision/formats.py"
SUMS = "sums of statistics for bootstrap resampling, which its public methods do not give"

TABLE = (
    Private("torch", "torch", "_foreach_copy_", "nmt/precision/master_weights.py", "one call"),
    Private("torch", "torch", "_cudnn_rnn_flatten_weight", "nmt/kernels/cudnn.py", "bf16 weights"),
    Private("torch", "torch", "ops.mkldnn._reorder_linear_weight", PRODUCTS, "packed weights"),
    Private("torch", "torch", "ops.mkldnn._linear_pointwise", PRODUCTS, "products with them"),
    Private("torch", "torch", "ops.mkldnn._is_mkldnn_bf16_supported", PRODUCTS, "bf16 products"),
    Private("torch", "torch", "ops.onednn.qlinear_prepack", FORMATS, "packed int8 weights"),
    Private("torch", "torch", "ops.onednn.qlinear_pointwise", FORMATS, "products with them"),
    Private("deepspeed", "deepspeed.ops", "__compatible_ops__", DEEPSPEED, "no kernels are built"),
    Private(
        "deepspeed", f"{PIPE}.module", "PipelineModule._partition_layers", DEEPSPEED, "our stages"
    ),
    Private("deepspeed", f"{PIPE}.module", "PipelineModule._set_bounds", DEEPSPEED, "our stages"),
    Private(
        "deepspeed", f"{PIPE}.module", "PipelineModule._index_tied_modules", DEEPSPEED, "our ties"
    ),
    Private("deepspeed", f"{PIPE}.module", "_grid", DEEPSPEED, "ranks of stages", in_source=True),
    Private(
        "deepspeed", f"{PIPE}.module", "forward_funcs", DEEPSPEED, "built layers", in_source=True
    ),
    Private(
        "deepspeed", f"{PIPE}.engine", "PipelineEngine._INSTRUCTION_MAP", DEEPSPEED, "timelines"
    ),
    Private(
        "deepspeed", f"{PIPE}.engine", "PipelineEngine._take_model_step", DEEPSPEED, "clipping"
    ),
    Private(
        "deepspeed", f"{PIPE}.engine", "PipelineEngine._aggregate_total_loss", DEEPSPEED, "loss"
    ),
    Private(
        "deepspeed",
        "deepspeed.runtime.engine",
        "basic_optimizer",
        EXECUTOR,
        "the optimizer itself",
        in_source=True,
    ),
    Private(
        "deepspeed",
        "deepspeed.runtime.utils",
        "ds_pipe_replicated",
        DEEPSPEED,
        "tied parameters count once in norms",
        in_source=True,
    ),
    Private(
        "deepspeed", "deepspeed.utils.tensor_fragment", "get_full_hp_param", STORES, "fp32 values"
    ),
    Private(
        "deepspeed", "deepspeed.utils.tensor_fragment", "get_full_hp_grad", STORES, "gradients"
    ),
    Private(
        "deepspeed", "deepspeed.utils.tensor_fragment", "set_full_hp_param", STORES, "resuming"
    ),
    *(
        Private(
            "deepspeed",
            "deepspeed.runtime.zero.stage_1_and_2",
            name,
            STORES,
            "links to a restored state",
            in_source=True,
        )
        for name in ("_hp_optimizer_states_linked", "_lazy_init_hp_params_optimizer_state")
    ),
    Private(
        "uvicorn",
        "uvicorn.server",
        "_captured_signals",
        "serve/server.py",
        "drains",
        in_source=True,
    ),
    *(
        Private(
            "sacrebleu", "sacrebleu.metrics.base", f"Metric.{name}", "nmt/evaluation/bleu.py", SUMS
        )
        for name in (
            "_extract_corpus_statistics",
            "_aggregate_and_compute",
            "_compute_score_from_stats",
        )
    ),
)


@pytest.mark.parametrize("private", TABLE, ids=str)
def test_it_is_there(private: Private) -> None:
    assert private.exists(), (
        f"{private.package} {version(private.package)} no longer has `{private}`, which "
        f"{private.used_in} uses ({private.why}); adapt that file before raising the bound in "
        "pyproject.toml."
    )


def test_a_name_that_is_gone_gives_a_sentence() -> None:
    gone = Private("torch", "torch", "ops.mkldnn._no_such_product", PRODUCTS, "products")
    assert not gone.exists()
    with pytest.raises(
        AssertionError, match=r"no longer has `torch\.ops\.mkldnn\._no_such_product"
    ):
        test_it_is_there(gone)


@pytest.mark.parametrize("package", sorted({one.package for one in TABLE}))
def test_versions_are_bounded_from_above(package: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    requirements = [*project["dependencies"], *(one for extra in extras for one in extra)]
    (found,) = [one for one in requirements if one.partition(">")[0] == package]
    assert ",<" in found, f"{found}: its private names are used, so it needs an upper bound"


def sources() -> Iterator[tuple[Path, ast.Module]]:
    for folder in ("nmt", "serve"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            yield file, ast.parse(file.read_text(encoding="utf-8"))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def own_names() -> set[str]:
    """Private names that this project defines itself."""
    found: set[str] = set()
    for _, tree in sources():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                found.add(node.target.id)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
                found |= {node.attr} if isinstance(node.ctx, ast.Store) else set()
    return found


def test_every_use_is_in_the_table() -> None:
    known = {part for one in TABLE for part in one.name.split(".")}
    allowed = known | own_names() | NAMED_TUPLES | STANDARD
    found = [
        f"{file.relative_to(ROOT)}:{node.lineno} uses `{ast.unparse(node)}`"
        for file, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in allowed
    ]
    assert found == [], "add it to TABLE, or use a public name"


@pytest.mark.parametrize("module", ["nmt.parallel.deepspeed", "serve.server"])
def test_private_methods_that_are_overridden_are_in_the_table(module: str) -> None:
    known = {one.name.rpartition(".")[2] for one in TABLE}
    loaded = import_module(module)
    found = [
        f"{kind.__name__}.{name} overrides {base.__module__}.{base.__name__}.{name}"
        for kind in vars(loaded).values()
        if inspect.isclass(kind) and kind.__module__ == module
        for base in kind.__mro__[1:]
        if not base.__module__.startswith(("nmt.", "serve.", "builtins"))
        for name in vars(kind)
        if is_private(name) and name in vars(base) and name not in known
    ]
    assert found == []


def test_the_table_has_no_name_that_nobody_uses() -> None:
    for one in TABLE:
        text = (ROOT / one.used_in).read_text(encoding="utf-8")
        assert one.name.rpartition(".")[2] in text, f"{one} is not used in {one.used_in}"
