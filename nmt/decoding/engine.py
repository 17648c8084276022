"""The running batch: sentences join and leave it at any decoding step (continuous batching)."""

from __future__ import annotations

import time
from collections.abc import Hashable, Sequence

from nmt.config import DecodeConfig
from nmt.decoding.native_batch import NativeBatch
from nmt.decoding.open_sentence import Finished, Hypothesis, Request
from nmt.decoding.search_step import SearchStep
from nmt.decoding.tensor_batch import TensorBatch
from nmt.kernels.native import MAX_BEAMS
from nmt.runtime.stepper import Stepper

__all__ = ["Engine", "Finished", "Hypothesis", "Request"]


class Engine:
    """Owns a running batch. Not thread-safe.

    Two implementations search alike: compiled code on CPUs where it can be built, and PyTorch's
    operations.
    """

    def __init__(
        self,
        stepper: Stepper,
        decode: DecodeConfig,
        alignments: bool = False,
        search_step: SearchStep | None = None,
        threads: int | None = None,
    ) -> None:
        """`search_step` performs the steps, by PyTorch's operations; None: whatever is the fastest
        for the model's device. Compiled code works with `threads`; None: as many as PyTorch."""
        native = stepper.native if search_step is None and decode.beam_size <= MAX_BEAMS else None
        self._batch: NativeBatch | TensorBatch = (
            TensorBatch(stepper, decode, alignments, search_step)
            if native is None
            else NativeBatch(native, decode, alignments, stepper.shortlist, threads)
        )
        self.admission_seconds = 0.0  # of the last call of `admit`

    def __len__(self) -> int:
        return len(self._batch)

    @property
    def longest_source(self) -> int:
        """S: the positions of the longest source in the batch."""
        return self._batch.longest_source

    def admit(self, requests: Sequence[Request]) -> None:
        """Encode sentences and add them to the batch."""
        if not requests:
            return
        begin = time.perf_counter()
        ids = {*self._batch.ids, *(request.id for request in requests)}
        assert len(ids) == len(self) + len(requests), "ids are unique in a batch"
        self._batch.admit(requests)
        self.admission_seconds = time.perf_counter() - begin

    def step(self) -> list[Finished]:
        """Extend every hypothesis by one piece → the finished sentences, which leave the batch."""
        return self._batch.step()

    def cancel(self, request_id: Hashable) -> bool:
        """Remove a sentence from the batch; false if it is not in it."""
        return self._batch.cancel(request_id)
