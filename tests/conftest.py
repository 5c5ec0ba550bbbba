"""Fixtures: a shared server per database engine, and servers of one's own for tests that break them."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("harness")

from harness import server as server_module
from harness import stock as stock_module
from harness.gate import Gates
from harness.postgres import Postgres
from harness.server import BINARY, Server, remove
from harness.world import Project, World, unique

ENGINES = ("sqlite", "postgres")
# Built from source that is not ours, where that can be had.
collect_ignore_glob = [] if stock_module.BINARY.exists() else ["test_stock_*.py"]
LOG_LINES = 30


def pytest_sessionstart() -> None:
    if not BINARY.exists():
        pytest.exit(f"{BINARY} does not exist: `make build`, or name the binary by RAVE_BINARY", 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The search for secrets in logs comes last: it looks at what everything else left."""
    items.sort(key=lambda it: it.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def scratch() -> Iterator[Path]:
    """A directory of the session. Readable by others, because jobs run as somebody else."""
    directory = Path(tempfile.mkdtemp(prefix="rave-e2e-"))
    directory.chmod(0o755)
    yield directory
    remove(directory)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that all servers share. Tests that stop it take one of their own."""
    it = Postgres()
    yield it
    it.close()


@pytest.fixture(scope="session")
def gates() -> Iterator[Gates]:
    it = Gates()
    yield it
    it.close()


@pytest.fixture(scope="session", params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="session")
def database(engine: str, request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Makes an empty database of the engine. `None` is SQLite in the data directory."""
    if engine == "sqlite":
        return lambda: None
    return request.getfixturevalue("postgres").create_database


@pytest.fixture(scope="session")
def server(engine: str, scratch: Path, database: Callable[[], str | None]) -> Iterator[Server]:
    """The server that most tests share."""
    config = "[runner]\nconcurrency = 4\n[log]\nlevel = \"debug\"\n"
    with Server(scratch / f"shared-{engine}", database(), config) as it:
        yield it.start()


@pytest.fixture(scope="session")
def world(server: Server, scratch: Path) -> World:
    return World(server, scratch)


@pytest.fixture
def project(world: World) -> Project:
    """A private project of the administrator, with a working copy."""
    return world.project()


@pytest.fixture
def own_server(engine: str, scratch: Path, database: Callable[[], str | None]) -> Iterator[Callable[..., Server]]:
    """Makes servers that only this test uses. They are not started yet."""
    made: list[Server] = []

    def make(**options: object) -> Server:
        it = Server(scratch / unique(f"own-{engine}"), options.pop("database_url", None) or database(), **options)
        made.append(it)
        return it

    yield make
    for it in made:
        it.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    """Notes where logs end before the test, so that a failure shows what came since."""
    item.stash[LOG_STARTS] = {it: _size(it.log_path) for it in server_module.servers}
    yield


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    outcome = yield
    report = outcome.get_result()
    if not report.failed:
        return
    starts = item.stash.get(LOG_STARTS, {})
    for it in server_module.servers:
        lines = it.log(starts.get(it, 0)).splitlines()
        if lines:
            report.sections.append((f"log of {it.directory.name}", "\n".join(lines[-LOG_LINES:])))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


LOG_STARTS: pytest.StashKey[dict[Server, int]] = pytest.StashKey()
