"""int8: a quarter of the memory of fp32, on CPUs with instructions for it."""

from __future__ import annotations

import torch

from nmt.errors import ConfigurationError

# By torch's names. Without them, a product of unsigned and signed bytes saturates at 16 bits.
INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")


def require_int8(device: str) -> None:
    """Check that `device` has instructions for int8.

    Raises:
        ConfigurationError: it has none.
    """
    kind = torch.device(device).type
    if kind != "cpu":
        raise ConfigurationError(
            [
                f"`precision` must be bf16 or fp32 on `{device}`, but is int8 instead, which runs "
                "on CPUs; use `precision=bf16`, which reads int8 model folders as well."
            ]
        )
    if not has_int8():
        raise ConfigurationError(
            [
                "`precision` must be fp32 on this processor, which has no instructions for int8, "
                "but is int8 instead; use `precision=fp32`, which reads int8 model folders as well."
            ]
        )


def has_int8() -> bool:
    """Whether this processor multiplies int8 without saturating."""
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in INSTRUCTIONS)
