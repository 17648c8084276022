"""The models that a server has, by the languages that they translate between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nmt.batching import RemoteModel, load_models
from nmt.config import DecodeConfig, UseConfig
from nmt.decoding import Translator
from nmt.errors import ConfigurationError
from nmt.text import Splitter
from serve.detection import detect
from serve.errors import RequestError


@dataclass(frozen=True)
class Model:
    """One of them."""

    name: str  # its folder
    translator: Translator | RemoteModel
    splitter: Splitter

    @property
    def pair(self) -> tuple[str, str]:
        """Source and target language."""
        return self.translator.source_language, self.translator.target_language


class Models:
    """All of them. Immutable: a reload makes others."""

    def __init__(self, models: Sequence[Model]) -> None:
        self.models = tuple(models)
        self._by_pair = {model.pair: model for model in models}

    @classmethod
    def load(
        cls, folders: Sequence[str], use: UseConfig, decode: DecodeConfig, segment_tokens: int
    ) -> Models:
        """Read model folders, in a process of their own.

        Raises:
            ModelFolderError, PlanError, InputError: a model cannot be loaded.
            ConfigurationError: two are for the same languages.
            WorkerError: the process ended.
        """
        found: dict[tuple[str, str], Model] = {}
        for folder, translator in zip(folders, load_models(folders, use, decode), strict=True):
            model = Model(Path(folder).as_posix(), translator, translator.splitter(segment_tokens))
            if model.pair in found:
                raise ConfigurationError(
                    [
                        f"`models` must be for different languages, but `{folder}` is from "
                        f"{model.pair[0]} to {model.pair[1]} like `{found[model.pair].name}`."
                    ]
                )
            found[model.pair] = model
        models = cls(list(found.values()))
        for target in models.targets:  # what loads at first use takes a second
            detect("", models.languages_for(target))
        detect("", models.languages)
        return models

    def languages_for(self, target: str) -> list[str]:
        """What a text that is to be translated into `target` may be in: also in it already."""
        sources = self.sources_of(target)
        return [*sources, *([target] if target not in sources else [])]

    @property
    def sources(self) -> list[str]:
        """Languages that are read."""
        return list(dict.fromkeys(source for source, _ in self._by_pair))

    @property
    def targets(self) -> list[str]:
        """Languages that are written."""
        return list(dict.fromkeys(target for _, target in self._by_pair))

    @property
    def languages(self) -> list[str]:
        """All of them."""
        return list(dict.fromkeys([*self.sources, *self.targets]))

    def targets_of(self, source: str) -> list[str]:
        """What a language can be translated into."""
        return [target for one, target in self._by_pair if one == source]

    def sources_of(self, target: str) -> list[str]:
        """What can be translated into a language."""
        return [source for source, one in self._by_pair if one == target]

    def find(self, source: str, target: str) -> Model:
        """The model for a pair.

        Raises:
            RequestError: there is none.
        """
        model = self._by_pair.get((source, target))
        if model is None:
            known = source in self.sources
            raise RequestError(f"{target if known else source} is not supported")
        return model
