import pytest
import torch

from nmt.errors import ConfigurationError
from nmt.precision.bf16 import require_bf16


def test_a_cpu_without_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: without)
    with pytest.raises(ConfigurationError, match=r"`precision` must be fp32 on `cpu`.*emulate"):
        require_bf16("cpu", emulate=False)
    require_bf16("cpu", emulate=True)


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_with_bf16_is_accepted(monkeypatch: pytest.MonkeyPatch, instruction: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instruction: True})
    require_bf16("cpu", emulate=False)
    require_bf16(torch.device("cpu", 0), emulate=False)
