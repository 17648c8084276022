import pytest
import torch

from nmt.errors import ConfigurationError
from nmt.precision.bf16 import require_bf16


def test_a_cpu_without_bf16_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    without = {"architecture": "x86_64", "avx512_f": True, "avx512_bf16": False}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: without)
    with pytest.raises(ConfigurationError) as raised:
        require_bf16("cpu", emulate=False)
    assert str(raised.value) == (
        "`precision` must be fp32 on `cpu`, which has no bf16 instructions, but is bf16 instead; "
        "use `precision=fp32`, or `emulate: true` to run many times slower."
    )
    require_bf16("cpu", emulate=True)


@pytest.mark.parametrize("instruction", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_a_cpu_with_bf16_is_accepted(monkeypatch: pytest.MonkeyPatch, instruction: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {instruction: True})
    require_bf16("cpu", emulate=False)
    require_bf16(torch.device("cpu", 0), emulate=False)


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked(monkeypatch: pytest.MonkeyPatch, supported: bool) -> None:
    asked: list[bool] = []

    def is_supported(including_emulation: bool) -> bool:
        asked.append(including_emulation)
        return supported

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_supported)
    if supported:
        require_bf16("cuda:1", emulate=False)
    else:
        with pytest.raises(ConfigurationError, match="must be fp32 on `cuda:1`, which has no bf16"):
            require_bf16("cuda:1", emulate=False)
    assert asked == [False], "emulation is not support"
