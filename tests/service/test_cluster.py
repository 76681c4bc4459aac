"""The service under Ray Serve: its options, and how a replica answers under the path that Serve gives it."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

from avatarify_plus.errors import ConfigError
from fakes import FakeEngine

pytest.importorskip("aiortc")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Ray's own
    pytest.importorskip("ray.serve", reason="no Ray: pip install -r requirements-cluster.txt")
    from avatarify_plus.service import cluster
    from avatarify_plus.service.cluster import ClusterOptions

TOKEN = "AVATARIFY_TOKEN"
GIVEN = {"names": ["avatars.example.org"]}


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "the-token-of-the-tests")


def test_options_come_as_serve_reads_them_from_a_file() -> None:
    options = ClusterOptions.of({**GIVEN, "replicas": [2, 20], "gpus": 0.25})
    assert (options.names, options.replicas, options.gpus) == (("avatars.example.org",), (2, 20), 0.25)


@pytest.mark.parametrize("given", [{}, {**GIVEN, "caller": 3}])
def test_options_that_are_none_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ClusterOptions.of(given)


def test_serve_may_give_a_replica_a_few_more_than_it_takes() -> None:
    deployment = cluster.calls({**GIVEN, "callers": 3, "replicas": [1, 2], "drain_s": 60})._bound_deployment
    assert deployment.max_ongoing_requests > 3, "a replica refuses by itself; Serve would have callers wait"
    scaling = deployment._deployment_config.autoscaling_config
    assert scaling is not None
    assert (scaling.min_replicas, scaling.max_replicas) == (1, 2)
    assert scaling.get_target_ongoing_requests() == pytest.approx(2.1)
    assert deployment._deployment_config.graceful_shutdown_timeout_s == 60


def test_a_weak_token_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN, "short")
    with pytest.raises(ConfigError, match="at least 16 characters"):
        cluster._access(ClusterOptions.of(GIVEN))


def test_a_replica_answers_under_the_whole_path_and_closes_its_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = FakeEngine("learned")
    monkeypatch.setattr(cluster.live, "open_wanted_engine", lambda config: engine)
    replica = cluster._replica(ClusterOptions.of({**GIVEN, "is_secure": False}))
    sent: list[dict[str, Any]] = []

    async def answer(scope: dict[str, Any], *messages: str) -> None:
        coming = iter(messages)

        async def receive() -> dict[str, Any]:
            return {"type": next(coming)}

        async def send(message: Any) -> None:
            sent.append(message)

        await replica(scope, receive, send)

    health = {"type": "http", "method": "GET", "path": "/health", "root_path": "/talk", "headers": []}
    asyncio.run(answer(health, "http.request"))
    assert sent[0]["status"] == 200
    assert not engine.is_closed
    asyncio.run(answer({"type": "lifespan"}, "lifespan.startup", "lifespan.shutdown"))
    assert sent[-1]["type"] == "lifespan.shutdown.complete"
    assert engine.is_closed
