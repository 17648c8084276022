"""Prometheus metrics, and figures of the last minute for the page. No addresses, no keys."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from nmt.batching import RunningBatch

MINUTE = 60.0
SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
SENTENCES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
PARTS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75)


class Metrics:
    """Counts of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "nmt_http_requests",
            "Requests answered.",
            ["endpoint", "method", "status"],
            registry=self._registry,
        )
        self.duration = Histogram(
            "nmt_http_request_duration_seconds",
            "Time from a request to its answer.",
            ["endpoint"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.in_flight = Gauge(
            "nmt_http_requests_in_flight", "Requests being answered.", registry=self._registry
        )
        self.rejected = Counter(
            "nmt_requests_rejected",
            "Requests that were rejected.",
            ["reason"],
            registry=self._registry,
        )
        self._observed = {
            "queue_wait_seconds": self._histogram(
                "nmt_queue_wait_seconds", "Time that a sentence waited in the queue.", SECONDS
            ),
            "batch_sentences": self._histogram(
                "nmt_batch_sentences", "Sentences of a decoding step.", SENTENCES
            ),
            "batch_padding_ratio": self._histogram(
                "nmt_batch_padding_ratio", "Fraction of source positions that is padding.", PARTS
            ),
            "inference_duration_seconds": self._histogram(
                "nmt_inference_duration_seconds", "Time of a decoding step.", SECONDS
            ),
        }
        self.model_info = Gauge(
            "nmt_model_info",
            "The models that are loaded; always 1.",
            ["model", "source", "target", "precision"],
            registry=self._registry,
        )
        self._children: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._latencies: deque[tuple[float, float]] = deque(maxlen=10_000)  # time, seconds

    def _histogram(self, name: str, words: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(name, words, buckets=buckets, registry=self._registry)

    def observe(self, name: str, value: float) -> None:
        """Record an observation of the running batch."""
        self._observed[name].observe(value)

    def watch(self, batch: RunningBatch) -> None:
        """Also export the statistics of a running batch."""
        self._registry.register(_BatchCollector(batch))

    def count(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        key = endpoint, method, status
        found = self._children.get(key)
        if found is None:  # looking these up takes longer than counting
            found = self._children[key] = (
                self.requests.labels(endpoint, method, str(status)),
                self.duration.labels(endpoint),
            )
        found[0].inc()
        found[1].observe(seconds)

    def answered(self, seconds: float) -> None:
        """Record the latency of an answered translation."""
        self._latencies.append((time.monotonic(), seconds))

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def last_minute(self) -> dict[str, float | int | None]:
        """Translations answered in the last minute, and their latency percentiles."""
        since = time.monotonic() - MINUTE
        recent = sorted(seconds for at, seconds in list(self._latencies) if at >= since)
        return {
            "requests": len(recent),
            "p50_ms": _percentile(recent, 0.5),
            "p99_ms": _percentile(recent, 0.99),
        }


def _percentile(ordered: list[float], part: float) -> float | None:
    if not ordered:
        return None
    return round(1000 * ordered[min(len(ordered) - 1, int(part * len(ordered)))], 1)


class _BatchCollector(Collector):
    """Exports the statistics that a running batch keeps itself."""

    def __init__(self, batch: RunningBatch) -> None:
        self._batch = batch

    def collect(self) -> Iterator[Metric]:
        """The current values."""
        now = self._batch.statistics
        yield GaugeMetricFamily(
            "nmt_queue_sentences", "Sentences waiting.", value=now.waiting_sentences
        )
        yield GaugeMetricFamily(
            "nmt_queue_tokens", "Source pieces waiting.", value=now.waiting_tokens
        )
        for name, words, value in (
            ("nmt_sentences", "Sentences translated.", now.sentences),
            ("nmt_source_tokens", "Source pieces translated.", now.source_tokens),
            ("nmt_target_tokens", "Target pieces written.", now.target_tokens),
            ("nmt_truncated", "Translations that reached the length limit.", now.truncated),
        ):
            yield CounterMetricFamily(name, words, value=value)
