"""The models that a server has, by direction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.batching import RemoteModel, load_models
from nmt.config import DecodeConfig, Direction, UseConfig
from nmt.decoding import Translator
from nmt.errors import ConfigurationError
from nmt.text import Splitter
from serve.detection import detect
from serve.errors import RequestError


@dataclass(frozen=True)
class Model:
    """A model folder in one of its directions."""

    name: str  # its folder
    translator: Translator | RemoteModel
    direction: Direction
    splitter: Splitter


class Models:
    """All models of a server. Immutable: a reload makes a new object."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        self._by_direction = {model.direction: model for model in models}
        # Requests name languages, which may be any text.
        self._by_languages = {
            (one.source, one.target): self._by_direction[one] for one in self._by_direction
        }

    @classmethod
    def load(
        cls, folders: Sequence[str], use: UseConfig, decode: DecodeConfig, segment_tokens: int
    ) -> Models:
        """Load model folders, in a process of their own.

        Raises:
            ModelFolderError, PlanError, InputError: a model cannot be loaded.
            ConfigurationError: two have the same direction.
            WorkerError: the process ended.
        """
        found: dict[Direction, Model] = {}
        for folder, translator in zip(folders, load_models(folders, use, decode), strict=True):
            for direction in translator.directions:
                if direction in found:
                    raise ConfigurationError(
                        [
                            f"`models` must have different directions, but `{folder}` translates "
                            f"{direction} like `{found[direction].name}`."
                        ]
                    )
                splitter = translator.splitter(direction, segment_tokens)
                name = Path(folder).as_posix()
                found[direction] = Model(name, translator, direction, splitter)
        models = cls(list(found.values()))
        for target in models.targets:  # the first detection takes a second, to load its model
            detect("", models.languages_for(target))
        detect("", models.languages)
        return models

    def languages_for(self, target: str) -> list[str]:
        """Languages that a text for translation into `target` may be in, `target` included."""
        sources = self.sources_of(target)
        return [*sources, *([target] if target not in sources else [])]

    @property
    def sources(self) -> list[str]:
        """Source languages."""
        return list(dict.fromkeys(one.source for one in self._by_direction))

    @property
    def targets(self) -> list[str]:
        """Target languages."""
        return list(dict.fromkeys(one.target for one in self._by_direction))

    @property
    def languages(self) -> list[str]:
        """All languages."""
        return list(dict.fromkeys([*self.sources, *self.targets]))

    def targets_of(self, source: str) -> list[str]:
        """The languages that `source` can be translated into."""
        return [one.target for one in self._by_direction if one.source == source]

    def sources_of(self, target: str) -> list[str]:
        """The languages that can be translated into `target`."""
        return [one.source for one in self._by_direction if one.target == target]

    def find(self, source: str, target: str) -> Model:
        """The model that translates in this direction.

        Raises:
            RequestError: there is none.
        """
        model = self._by_languages.get((source, target))
        if model is None:
            known = source in self.sources
            raise RequestError(f"{target if known else source} is not supported")
        return model
