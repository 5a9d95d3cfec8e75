"""Options shared by all tests."""

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where the numeric reference data lie."""
    parser.addoption(
        "--parity-root",
        default=str(REPOSITORY.parent / "shared" / "parity"),
        help="folder with the numeric parity data; parity tests are skipped when it is absent",
    )
    parser.addoption(
        "--clips-root",
        default=str(REPOSITORY.parent / "shared" / "clips"),
        help="folder with real clips; tests on them are skipped when it is absent",
    )


@pytest.fixture(scope="session")
def parity_root(request: pytest.FixtureRequest) -> Path:
    """Folder of the numeric parity data, or skip."""
    root = Path(request.config.getoption("--parity-root"))
    if not root.is_dir():
        pytest.skip(f"no parity data at {root}: pass --parity-root")
    return root


@pytest.fixture(scope="session")
def clips_root(request: pytest.FixtureRequest) -> Path:
    """Folder of real clips, or skip."""
    root = Path(request.config.getoption("--clips-root"))
    if not root.is_dir():
        pytest.skip(f"no clips at {root}: pass --clips-root")
    return root
