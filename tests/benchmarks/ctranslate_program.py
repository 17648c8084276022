"""The part of the comparison with CTranslate2 that runs in the peers' environment, which does not
have this project. A request is a line of JSON on stdin, and its answer one on stdout:

    {"make": FOLDER, "layers": L, "width": W, "vocabulary": V}
    {"load": FOLDER, "workers": N, "format": "int8"}
    {"translate": [[piece, …], …], "beam": B, "length": LENGTH}  → {"seconds": S, "tokens": T}
    {"alone": [[piece, …], …], "beam": B, "length": LENGTH}  → {"milliseconds": MEDIAN}
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median
from typing import Any

import ctranslate2
import numpy as np

UNITS_OF_A_HEAD = 64
BATCH = 64  # sentences of a batch, as in our batches; batches are given to workers in turns


def make(folder: str, layers: int, width: int, vocabulary: int) -> None:
    """Write a Transformer with random weights, as its converters would."""
    from ctranslate2.specs import TransformerSpec
    from ctranslate2.specs.attention_spec import MultiHeadAttentionSpec
    from ctranslate2.specs.common_spec import LayerNormSpec, LinearSpec

    rng = np.random.default_rng(1)

    def linear(spec: LinearSpec, inputs: int, outputs: int) -> None:
        spec.weight = rng.normal(0, inputs**-0.5, (outputs, inputs)).astype(np.float32)
        spec.bias = np.zeros(outputs, np.float32)

    def norm(spec: LayerNormSpec) -> None:
        spec.gamma, spec.beta = np.ones(width, np.float32), np.zeros(width, np.float32)

    def attention(spec: MultiHeadAttentionSpec, parts: tuple[int, ...]) -> None:
        for one, part in zip(spec.linear, parts, strict=True):
            linear(one, width, part * width)
        norm(spec.layer_norm)

    spec = TransformerSpec.from_config(layers, width // UNITS_OF_A_HEAD)
    embeddings = rng.normal(0, width**-0.5, (vocabulary, width)).astype(np.float32)
    spec.encoder.embeddings[0].weight = spec.decoder.embeddings.weight = embeddings
    for side in (spec.encoder, spec.decoder):
        norm(side.layer_norm)
        for layer in side.layer:
            attention(layer.self_attention, (3, 1))
            norm(layer.ffn.layer_norm)
            linear(layer.ffn.linear_0, width, 4 * width)
            linear(layer.ffn.linear_1, 4 * width, width)
    for layer in spec.decoder.layer:
        attention(layer.attention, (1, 2, 1))
    linear(spec.decoder.projection, width, vocabulary)
    words = ["<unk>", "<s>", "</s>", *(str(i) for i in range(3, vocabulary))]
    spec.register_source_vocabulary(words)
    spec.register_target_vocabulary(words)
    spec.validate()
    spec.save(folder)


class Server:
    """Answers requests with the model that was loaded last."""

    def __init__(self) -> None:
        self._model: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what a request asks for."""
        if "make" in request:
            make(request["make"], request["layers"], request["width"], request["vocabulary"])
            return {}
        if "load" in request:
            self._model = ctranslate2.Translator(
                request["load"],
                device="cpu",
                compute_type={"fp32": "float32"}.get(request["format"], request["format"]),
                inter_threads=request["workers"],
                intra_threads=1,
            )
            return {}
        if "translate" in request:
            self._translate(request["translate"], request)  # warm-up
            begin = time.perf_counter()
            tokens = self._translate(request["translate"], request)
            return {"seconds": time.perf_counter() - begin, "tokens": tokens}
        times = []
        for sentence in [*request["alone"][:5], *request["alone"]]:
            begin = time.perf_counter()
            self._translate([sentence], request)
            times.append(1000 * (time.perf_counter() - begin))
        return {"milliseconds": median(times[5:])}

    def _translate(self, sentences: list[list[str]], request: dict[str, Any]) -> int:
        """Translate to a fixed length → the number of tokens."""
        results = self._model.translate_batch(
            sentences,
            beam_size=request["beam"],
            max_batch_size=BATCH,
            min_decoding_length=request["length"],
            max_decoding_length=request["length"],
            return_scores=False,
        )
        return sum(len(result.hypotheses[0]) for result in results)


if __name__ == "__main__":
    server = Server()
    for line in sys.stdin:
        print(json.dumps(server.answer(json.loads(line))), flush=True)
