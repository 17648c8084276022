"""bf16: half the memory of fp32 with its range, and 8 bits of precision."""

from __future__ import annotations

import torch

from nmt.errors import ConfigurationError

# Instructions that multiply bf16 matrices, by torch's names. (A CPU with AVX-512 but without these
# passes oneDNN's check, which then computes in fp32 with a conversion at every step.)
INSTRUCTIONS = ("avx512_bf16", "amx_bf16", "bf16", "sve_bf16")


def require_bf16(device: str | torch.device, emulate: bool) -> None:
    """Check that `device` has instructions for bf16.

    Raises:
        ConfigurationError: it has none, and emulation is not asked for.
    """
    if emulate or _has_bf16(torch.device(device)):
        return
    raise ConfigurationError(
        [
            f"`precision` must be fp32 on `{device}`, which has no bf16 instructions, but is bf16 "
            "instead; use `precision=fp32`, or `emulate: true` to run many times slower."
        ]
    )


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in INSTRUCTIONS)
