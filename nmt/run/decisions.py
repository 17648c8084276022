"""Decisions that go by measured times: profiles of layers, plans, and the settings that tuning
chooses.

Times vary from one measurement to the next, and another decision means sums in another order: two
runs of one command would differ in their last bits, and soon in all. So a decision is made once for
a machine, corpus and configuration, and kept beside the corpus: in `<data.cache>/decisions`.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nmt.config import TrainConfig
from nmt.corpus.prepare import PreparedData
from nmt.files import replacing
from nmt.parallel.world import cores

logger = logging.getLogger(__name__)

VERSION = 1  # to be raised when measurements or planners change


def kept(
    config: TrainConfig,
    data: PreparedData,
    kind: str,
    decide: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """The decision of that kind for a configuration on this machine: the one that was made before,
    or else what `decide` returns, which is kept."""
    earlier = earlier_decision(config, data, kind)
    if earlier is not None:
        return earlier
    decision = decide()
    keep(config, data, kind, decision)
    return decision


def earlier_decision(config: TrainConfig, data: PreparedData, kind: str) -> dict[str, Any] | None:
    """The decision that was made before; None if there was none, or its file is damaged."""
    file = _file(config, data, kind)
    try:
        decision: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))["decision"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.warning("`%s` is damaged, so costs are measured again (%s)", file, error)
        return None
    logger.info("%s: as decided before on this machine (delete %s to measure again)", kind, file)
    return decision


def keep(config: TrainConfig, data: PreparedData, kind: str, decision: dict[str, Any]) -> None:
    """Keep a decision for later runs."""
    file = _file(config, data, kind)
    file.parent.mkdir(parents=True, exist_ok=True)
    content = {"decision": decision, "made for": _circumstances(config, data, kind)}
    with replacing(file) as unfinished:
        unfinished.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _processor() -> str:
    """The name of this machine's GPU or processor."""
    file = Path("/proc/cpuinfo")
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    return next((line for line in lines if line.startswith("model name")), "unknown")


def _file(config: TrainConfig, data: PreparedData, kind: str) -> Path:
    text = json.dumps(_circumstances(config, data, kind), sort_keys=True)
    digest = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
    return Path(config.data.cache) / "decisions" / f"{digest}.json"


def _circumstances(config: TrainConfig, data: PreparedData, kind: str) -> dict[str, Any]:
    """Whatever the times of a run's steps depend on, and how plans are made of them."""
    parts = config.model_dump(
        mode="json", include={"model", "precision", "parallel", "placement", "optimizer", "seed"}
    )
    parts["parallel"].pop("trace", None)
    return {
        "version": VERSION,
        "kind": kind,
        **parts,
        "batch": config.data.batch.model_dump(mode="json"),
        "contents": data.contents(),
        "vocabulary": data.vocabulary.fingerprint,
        "torch": torch.__version__,
        "processor": _processor(),
        "cores": cores(),
        "gpus": torch.cuda.device_count(),
    }
