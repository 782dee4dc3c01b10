"""Fixtures: one real server and one set of generated stubs per test session."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cutting_proxy import CuttingProxy
from support import Server, Stubs, generate_stubs

import shadowkeep

SEED = 20_260_101


def pytest_report_header() -> str:
    return f"seed: {SEED}"


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def stubs(tmp_path_factory: pytest.TempPathFactory) -> Stubs:
    pytest.importorskip("grpc_tools", reason="grpcio-tools generates the stubs; it is not installed")
    directory: Path = tmp_path_factory.mktemp("stubs")
    return generate_stubs(directory)


@pytest.fixture
def client(server: Server) -> Iterator[shadowkeep.Client]:
    with shadowkeep.connect(server.target) as connected:
        yield connected


@pytest.fixture
def proxy(server: Server) -> Iterator[CuttingProxy]:
    """Lies between a client and the service, and cuts their connections."""
    with CuttingProxy(server.target) as running:
        yield running


@pytest.fixture
def through(proxy: CuttingProxy) -> Iterator[shadowkeep.Client]:
    """A client that reaches the service through the proxy."""
    with shadowkeep.connect(proxy.target) as connected:
        yield connected


_RUN_NUMBERS = itertools.count()


@pytest.fixture
def run_name() -> str:
    """A name that no other test uses."""
    return f"run-{next(_RUN_NUMBERS)}"


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


@pytest.fixture(scope="module")
def module_client(server: Server) -> Iterator[shadowkeep.Client]:
    with shadowkeep.connect(server.target) as connected:
        yield connected
