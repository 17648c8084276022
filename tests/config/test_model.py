"""What every architecture's settings can do."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from nmt.config import GnmtConfig, ModelConfig, read
from nmt.errors import ConfigurationError

CONF = Path(__file__).parents[2] / "conf" / "model"


def values(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CONF / f"{name}.yaml").read_text(encoding="utf-8"))
    return found


def test_what_reports_say() -> None:
    config = read(ModelConfig, values("tiny"))
    assert isinstance(config, GnmtConfig)
    assert config.summary == "2 encoder and 2 decoder LSTM layers of 256 units"
    assert config.width == 256


def test_another_depth() -> None:
    config = read(ModelConfig, values("small"))
    deeper = config.with_depth(6)
    assert (deeper.encoder_layers, deeper.decoder_layers) == (6, 6)
    assert deeper.name == "small, 6 layers"
    assert deeper.changed(encoder_layers=4, decoder_layers=4, name="small") == config
    with pytest.raises(ConfigurationError, match="`encoder_layers` must be at least 2, but is 1"):
        config.with_depth(1)


@pytest.mark.parametrize("key", ["architecture", "cell"])
def test_unknown_kinds(key: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"`{key}` must be .*, but is 'transformer'"):
        read(ModelConfig, values("tiny") | {key: "transformer"})
