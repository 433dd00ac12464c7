"""Fixtures of all end-to-end tests."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from envoy import Envoy, tail
from upstream import Authority, Upstream

ENVOYS = pytest.StashKey[list[Envoy]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked long too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves long tests out, which is not to skip them: a skipped test counts as failed."""
    if config.getoption("--long"):
        return
    long = [item for item in items if item.get_closest_marker("long")]
    config.hook.pytest_deselected(items=long)
    items[:] = [item for item in items if item not in long]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Shows the end of each Envoy's log with a test that failed."""
    report: pytest.TestReport = yield
    if report.when == "call" and report.failed:
        for envoy in item.stash.get(ENVOYS, []):
            report.sections.append((f"log of Envoy {envoy.pid}", tail(envoy.log())))
    return report


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A recording provider; it answers in the shape that the path tells."""
    with Upstream() as server:
        yield server


@pytest.fixture
def second() -> Iterator[Upstream]:
    """Another one, to retry on, mirror to or redirect to."""
    with Upstream() as server:
        yield server


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A certificate authority; `authority.server_context(["api.test"])` is for `Upstream(tls=)`."""
    return Authority()


@pytest.fixture
def start_envoy(request: pytest.FixtureRequest) -> Iterator[Callable[..., Envoy]]:
    """Starts Envoys that end with the test: the arguments are those of `Envoy`."""
    started = request.node.stash.setdefault(ENVOYS, [])
    with contextlib.ExitStack() as stack:

        def start(bootstrap: dict[str, Any], **options: Any) -> Envoy:
            envoy = stack.enter_context(Envoy(bootstrap, **options))
            started.append(envoy)
            return envoy

        yield start


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """An HTTP/1.1 client that takes nothing from the environment."""
    with httpx.Client(trust_env=False, timeout=20) as http:
        yield http
