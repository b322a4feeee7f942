"""Fixtures: a platform shared by all tests of a worker, private ones, and unused names."""

import itertools
import os
import pathlib
import shutil
import signal
import tempfile

import pytest

from harness import BINARY, Platform


def pytest_configure(config):
    # A shell ignores it for what it runs in the background, and what tests start would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if not os.access(BINARY, os.X_OK):
        raise pytest.UsageError(f"{BINARY} is not there; build it with `cargo build`, or point UPDRAFT_BIN at it")


@pytest.fixture(scope="session")
def workspace():
    """A folder for the whole run, readable to every user, since one test runs as another."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="updraft-e2e-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def platform(workspace):
    """One platform for all tests of this worker that do not disturb it."""
    shared = Platform(workspace / "shared").start()
    yield shared
    shared.stop()


@pytest.fixture
def folder(workspace):
    """A folder of the test's own."""
    return pathlib.Path(tempfile.mkdtemp(dir=workspace))


@pytest.fixture
def private(folder):
    """Makes platforms of the test's own, and ends those still running after it."""
    made = []

    def start(name="data", **options):
        made.append(Platform(folder / name, **options))
        return made[-1].start()

    yield start
    for one in made:
        one.stop()


@pytest.fixture(scope="session")
def client(platform):
    return platform.client()


_numbers = itertools.count(1)


@pytest.fixture
def name(request, platform):
    """A function name nobody uses; whatever has it is deleted after the test."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    words = request.node.originalname.removeprefix("test_").replace("_", "-")[:40]
    unused = f"{words}-{worker}-{next(_numbers)}"
    yield unused
    try:
        platform.client().delete_function(FunctionName=unused)
    except platform.client().exceptions.ResourceNotFoundException:
        pass
