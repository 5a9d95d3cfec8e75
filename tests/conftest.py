"""Options shared by all tests."""

import os
import signal
from pathlib import Path

# Before any test imports torch: see ``vist3a/__init__.py``.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Runs started by tests are not worth a record; the tests of the record switch it on for theirs.
os.environ.setdefault("VIST3A_TRACKING", "off")

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]

# `make test &` starts with ignored signals, which processes that tests start would inherit.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)


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
    root = Path(request.config.getoption("--parity-root")).expanduser()
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
