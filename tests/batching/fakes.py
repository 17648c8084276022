"""A model that shouts, one letter a step: what queues and servers do can be told exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from nmt.config import DecodeConfig, Direction
from nmt.decoding.engine import Finished, Hypothesis, Request
from nmt.decoding.translation import Alternative, Translation
from nmt.text.document import Splitter


class ShoutingVocabulary:
    """A piece for each character."""

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return [[ord(character) for character in text] for text in texts]

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def count(self, text: str) -> int:
        return len(text)


class Shouting:
    """Stands in for a `Translator`: upper case, and whatever else a test wants to happen."""

    def __init__(
        self,
        before: Callable[[], None] = lambda: None,
        source: str = "en",
        target: str = "de",
    ) -> None:
        self.before = before  # each step
        self.directions = [Direction(source=source, target=target)]
        self.vocabulary = ShoutingVocabulary()
        self.precision = "fp32"
        self.batches: list[list[str]] = []  # of each step
        self.admission_seconds = 0.0  # of every engine

    def engine(self, decode: DecodeConfig, alignments: bool) -> ShoutingEngine:  # noqa: ARG002
        return ShoutingEngine(self)

    def splitter(self, direction: Direction, longest: int = 200) -> Splitter:
        return Splitter(direction.source, self.vocabulary.count, longest)

    def translation(self, source: Sequence[int], hypotheses: list[Hypothesis]) -> Translation:
        text = "".join(map(chr, source))
        words = text.split()
        others = [text.upper() + "?", text.upper() + "?", text.upper()]
        return Translation(
            text=text.upper(),
            score=-float(len(text)),
            log_probability=-float(len(text)),
            tokens=[f"▁{word.upper()}" for word in words],
            source_tokens=[f"▁{word}" for word in words],
            alignment=np.eye(len(words)),
            alternatives=[
                Alternative(other, -9.0, -9.0, [f"▁{one}" for one in other.split()], False)
                for other in others[: len(hypotheses) - 1]
            ],
            truncated=len(text) > 30,
        )


class ShoutingEngine:
    """A sentence is done after as many steps as it has letters."""

    def __init__(self, stepper: Shouting) -> None:
        self._shouting = stepper
        self._left: dict[Any, tuple[Request, int]] = {}

    def __len__(self) -> int:
        return len(self._left)

    @property
    def admission_seconds(self) -> float:
        return self._shouting.admission_seconds

    @property
    def longest_source(self) -> int:
        return max((len(request.source) + 1 for request, _ in self._left.values()), default=0)

    def admit(self, requests: Sequence[Request]) -> None:
        for request in requests:
            self._left[request.id] = request, len(request.source)

    def cancel(self, request_id: Any) -> bool:
        return self._left.pop(request_id, None) is not None

    def step(self) -> list[Finished]:
        texts = ["".join(map(chr, request.source)) for request, _ in self._left.values()]
        self._shouting.batches.append(texts)
        self._shouting.before()
        self._left = {key: (one, left - 1) for key, (one, left) in self._left.items()}
        done = [(key, one) for key, (one, left) in self._left.items() if left == 0]
        for key, _ in done:
            del self._left[key]
        hypothesis = Hypothesis([], 0.0, 0.0, truncated=False, alignment=None)
        return [Finished(key, [hypothesis] * (one.n_best or 1)) for key, one in done]
