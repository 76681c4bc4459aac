"""How the service is doing, for Prometheus, whose client's home this is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from avatarify_plus.service.service import Service

PREFIX = "avatarify_"


class Figures:
    """Count what happens. photos: those that callers brought. content_type: of `text`."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_ServiceFigures(service))
        self._refused = Counter(PREFIX + "refused", "What was refused", ["why"], registry=self._registry)
        self.photos = Counter(PREFIX + "photos", "Photos that callers brought", registry=self._registry)

    def refuse(self, why: str) -> None:
        """Count something that was refused."""
        self._refused.labels(why).inc()

    def text(self) -> bytes:
        """Return all figures in Prometheus' form."""
        return generate_latest(self._registry)


class _ServiceFigures(Collector):
    """Read a service's figures when they are asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterable[Metric]:
        return self._collect()

    def _collect(self) -> Iterator[Metric]:
        service = self._service
        callers = list(service.callers)
        waited_ms = max((caller.waited_ms for caller in callers), default=0.0)
        for name, about, value in (
            ("callers", "Callers now", len(callers)),
            ("free_places", "Callers that could still come", service.free_places),
            ("wait_seconds", "How long the newest pictures waited for their turn, at most", waited_ms / 1000),
        ):
            yield GaugeMetricFamily(PREFIX + name, about, value)
        for name, about, value in (
            ("pictures", "Pictures that were animated", service.picture_count),
            ("dropped_pictures", "Pictures of webcams that were left out for newer ones", service.dropped_count),
            ("turns", "Turns that were taken", service.turns.count),
            ("turn_seconds", "Time that turns took", service.turns.busy_s),
        ):
            yield CounterMetricFamily(PREFIX + name, about, value)
