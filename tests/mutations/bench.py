"""A copy of the project in which one file at a time is changed, and tests that run there in processes of their own."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

COPIED = ("src", "tests", "conf", "pyproject.toml", "benchmarks")
OPTIONS = (
    "-x", "-q", "-p", "no:cacheprovider", "-m", "not long", "--jaxtyping-packages=vist3a,vist3a_app,vist3a_lab,beartype.beartype",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",  # packages are imported before pytest could look at them
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """``failed`` is the test that noticed, "time" where the tests did not end, None where all passed; seconds
    of a core by file."""

    failed: str | None
    seconds: dict[str, float]


class Bench:
    """``place`` becomes a checkout like ``repository``; large folders are links."""

    def __init__(self, repository: Path, place: Path) -> None:
        self.repository, self.place = repository, place
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        for entry in repository.iterdir():
            if entry.name in COPIED:
                copy = shutil.copytree if entry.is_dir() else shutil.copy2
                copy(entry, place / entry.name)
            elif entry.name not in ("build", ".git", "mlflow.db"):
                (place / entry.name).symlink_to(entry)

    @contextlib.contextmanager
    def with_text(self, module: str, text: str) -> Iterator[None]:
        """The copy with another text of one module."""
        file, original = (root / "src" / module for root in (self.place, self.repository))
        try:
            file.write_text(text)
            yield
        finally:
            shutil.copy2(original, file)

    def run(self, tests: Sequence[str], limit: float) -> Outcome:
        """Run tests up to the first that fails, for ``limit`` seconds of one core at most, however busy the machine is.

        The process is forked: torch and all other packages are there, nothing of the project is.
        """
        report = self.place.with_suffix(".json")
        report.unlink(missing_ok=True)
        child = os.fork()
        if not child:
            try:
                # An endless loop is ended by the system; tests that wait for each other, by the clock.
                resource.setrlimit(resource.RLIMIT_CPU, (int(limit), int(limit)))
                _in_child(self.place, tests, report)
            finally:
                os._exit(0)
        end = time.monotonic() + 20 * limit
        while os.waitpid(child, os.WNOHANG) == (0, 0):
            if time.monotonic() > end:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Outcome("time", {})
            time.sleep(0.05)
        if not report.is_file():
            return Outcome("the process ended", {})
        return Outcome(**json.loads(report.read_text()))


class _Recorder:
    """Notes the first failure, and how long every file kept a core busy."""

    def __init__(self) -> None:
        self.failed: str | None = None
        self.seconds: dict[str, float] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item) -> Generator[None, object, object]:
        before = sum(os.times()[:4])
        result = yield
        file = item.nodeid.split("::")[0]
        self.seconds[file] = self.seconds.get(file, 0.0) + sum(os.times()[:4]) - before
        return result

    def pytest_runtest_logreport(self, report) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid

    def pytest_collectreport(self, report) -> None:
        if report.failed:
            self.failed = self.failed or report.nodeid


def _in_child(place: Path, tests: Sequence[str], report: Path) -> None:
    os.setsid()
    os.chdir(place)
    output = os.open(place.with_suffix(".txt"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    repository = Path(__file__).resolve().parents[2]
    ours = [str(repository / part) for part in ("src", "tests")]
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(tuple(ours)) and name != "__main__":
            del sys.modules[name]
    sys.path[:] = [str(place / "src"), str(place / "tests"), *(p for p in sys.path if not p.startswith(tuple(ours)))]
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])
    recorder = _Recorder()
    code = int(pytest.main([*OPTIONS, *tests], plugins=[recorder]))
    if code not in (0, 5) and recorder.failed is None:
        recorder.failed = "pytest"
    report.write_text(json.dumps({"failed": recorder.failed, "seconds": recorder.seconds}))
