"""Do the tests notice errors? Small errors are put into copies of the source, and the tests near them must fail.

    python tests/mutations                       the errors of named.py, then 100 that are drawn
    python tests/mutations --drawn 40 --seed 7   other ones
    python tests/mutations --named 0             drawn ones alone

Results are kept in build/mutations and used again while the module and the test that noticed (for survivors: all of the source
and the tests) are what they were. Ends with an error when fewer than 95 % are noticed.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import sys
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "VIST3A_TRACKING": "off", "DO_NOT_TRACK": "1"}
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY / "tests")]

import project_graph  # noqa: E402
from bench import Bench, Outcome  # noqa: E402
from equivalent import reason_of  # noqa: E402
from named import NAMED  # noqa: E402
from operators import changed, changes  # noqa: E402
from selection import CHAIN, tests_of  # noqa: E402

SOURCE = REPOSITORY / "src"
STATE = REPOSITORY / "build" / "mutations"
DRAWN_FROM = (
    "vist3a/stitching/*.py", "vist3a/alignment/*.py", "vist3a/alignment/rewards/*.py", "vist3a/distillation/*.py",
    "vist3a/sampling/rollout.py", "vist3a/geometry/*.py", "vist3a/rendering/*.py", "vist3a/export/*.py", "vist3a/metrics/*.py",
)  # fmt: skip
FIRST = "tests/metrics/test_depth_metrics.py"
"""Quick tests, which are run before anything is changed."""
NEEDS_CUDA = "vist3a/rendering/gsplat_cuda.py"
REQUIRED = 0.95
PRELOADED = frozenset({
    "torch", "numpy", "scipy", "diffusers", "transformers", "peft", "safetensors", "tokenizers", "jaxtyping", "beartype",
    "pytest", "hypothesis", "numba", "pandas", "PIL", "av", "plyfile", "pydantic",
})  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """A module with an error."""

    name: str
    module: str
    text: str


def named() -> list[Mutant]:
    """The errors that were made by hand."""
    found = []
    for one in NAMED:
        source = (SOURCE / one.module).read_text()
        if source.count(one.before) != 1:
            raise SystemExit(
                f"{one.module}: {one.before!r} of {one.name!r} stands there {source.count(one.before)} times; allowed: once"
            )
        found.append(Mutant(one.name, one.module, source.replace(one.before, one.after)))
    return found


def drawn(count: int, seed: int, within: str = "") -> list[Mutant]:
    """Changes of the modules of ``DRAWN_FROM``, without those that change nothing that anyone could notice."""
    files = [path for pattern in DRAWN_FROM for path in sorted(SOURCE.glob(pattern))]
    sources = {str(path.relative_to(SOURCE)): path.read_text() for path in files}
    possible = [
        (module, change)
        for module, source in sources.items()
        if module != NEEDS_CUDA and module.startswith(within)
        for change in changes(module, source)
    ]
    random.Random(seed).shuffle(possible)
    chosen = possible[:count]
    return [Mutant(change.key, module, changed(sources[module], change)) for module, change in chosen]


def digest(*parts: str) -> str:
    """Of texts."""
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=10).hexdigest()


def all_code() -> str:
    """Digest of the source and the tests."""
    files = [path for part in ("src", "tests") for path in sorted((REPOSITORY / part).rglob("*.py"))]
    return digest(*(path.read_text() for path in files if path.parent.name != "mutations"))


class Results:
    """What is known of mutants, one small file each."""

    def __init__(self) -> None:
        self.folder, self.code = STATE / "results", all_code()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.timing = STATE / "seconds.json"
        self.noticed: dict[str, Counter[str]] = defaultdict(Counter)
        for file in self.folder.glob("*.json"):
            self._count(json.loads(file.read_text()))
        self.seconds: dict[str, float] = json.loads(self.timing.read_text()) if self.timing.is_file() else {}

    def known(self, mutant: Mutant) -> str | None:
        """The test that noticed, "" for none, None where nothing is known."""
        file = self._file(mutant)
        if not file.is_file():
            return None
        result = json.loads(file.read_text())
        return result["failed"] if result["valid"] == self._valid(result["failed"]) else None

    def put(self, mutant: Mutant, failed: str) -> None:
        """Keep what was found."""
        content = {"mutant": mutant.name, "module": mutant.module, "failed": failed, "valid": self._valid(failed)}
        _write(self._file(mutant), content)
        self._count(content)

    def _count(self, content: dict[str, str]) -> None:
        if content["failed"]:
            self.noticed[content["module"]][content["failed"].split("::", maxsplit=1)[0]] += 1

    def took(self, outcome: Outcome) -> None:
        """How long files took, whole or up to a failure; other runs write there too."""
        known = json.loads(self.timing.read_text()) if self.timing.is_file() else {}
        for file, seconds in outcome.seconds.items():
            known[file] = max(seconds, known.get(file, 0.0)) if outcome.failed else seconds
        _write(self.timing, known)
        self.seconds = known

    def _file(self, mutant: Mutant) -> Path:
        return self.folder / f"{digest(mutant.module, mutant.text)}.json"

    def _valid(self, failed: str) -> str:
        file = REPOSITORY / failed.split("::", maxsplit=1)[0]
        return digest(file.read_text()) if failed and file.is_file() else self.code


def _write(file: Path, content: Mapping[str, object]) -> None:
    """Whole or not at all, as two runs may share the folder."""
    partial = file.with_suffix(f".{os.getpid()}.part")
    partial.write_text(json.dumps(content, indent=1, sort_keys=True))
    os.replace(partial, file)


class Judge:
    """Runs the tests of mutants in a copy of the project."""

    def __init__(self, results: Results, budget: float, chain: bool) -> None:
        self.results, self.budget, self.chain = results, budget, chain
        self.bench = Bench(REPOSITORY, STATE / f"copy-{os.getpid()}")
        self.sound: set[str] = set()
        if not self._is_sound(FIRST):
            raise SystemExit(f"no test can run in {self.bench.place}: see {self.bench.place.with_suffix('.txt')}")

    def failed(self, mutant: Mutant) -> str:
        """The test that noticed, or nothing."""
        files = tests_of(mutant.module, self.results.seconds, self.budget, self.results.noticed[mutant.module])
        needed = sum(self.results.seconds.get(file, 10.0) for file in files)
        outcome = self._run(mutant, files, 5 * needed + 120)
        if outcome.failed is None and self.chain:
            outcome = self._run(mutant, [CHAIN], 1800)
        return outcome.failed or ""

    def _run(self, mutant: Mutant, files: list[str], limit: float) -> Outcome:
        while True:
            with self.bench.with_text(mutant.module, mutant.text):
                outcome = self.bench.run(files, limit)
            self.results.took(outcome)
            if outcome.failed is None or self._is_sound(outcome.failed.split("::")[0]):
                return outcome
            files = [file for file in files if file != outcome.failed.split("::")[0]]

    def _is_sound(self, file: str) -> bool:
        """Whether a file of tests passes where nothing is changed: else its failure says nothing."""
        if file not in self.sound and file.endswith(".py"):
            outcome = self.bench.run([file], 900)
            if outcome.failed is not None:
                print(f"  {outcome.failed} fails without any change and does not count", flush=True)
                return False
            self.sound.add(file)
        return True


def preload() -> None:
    """Import the packages that most tests import, so that no mutant waits for them."""
    paths = [*SOURCE.rglob("*.py"), *(REPOSITORY / "tests").rglob("*.py")]
    for name in sorted({name for path in paths for name in project_graph.imported_names(path)}):
        if name.split(".")[0] in PRELOADED:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    importlib.import_module(name)
                except ImportError:  # a name in a package, which may be imported lazily
                    package, _, member = name.rpartition(".")
                    getattr(sys.modules.get(package), member, None)


def main() -> int:
    """Print every mutant and the rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--named", type=int, default=1, choices=(0, 1), help="the errors of named.py")
    parser.add_argument("--drawn", type=int, default=100, help="how many are drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--within", default="", help="only modules whose path begins like this, e.g. geometry/")
    parser.add_argument(
        "--budget", type=float, default=150.0, help="seconds of tests near a mutant, as measured before"
    )
    parser.add_argument(
        "--chain", type=int, default=1, choices=(0, 1), help="what survives those meets the chain's test"
    )
    arguments = parser.parse_args()
    mutants = (named() if arguments.named else []) + drawn(arguments.drawn, arguments.seed, arguments.within)
    results, judge, start = Results(), None, time.monotonic()
    noticed, survived, equivalent = [], [], []
    for number, mutant in enumerate(mutants, 1):
        if reason_of(mutant.name) is not None:
            equivalent.append(mutant.name)
            continue
        failed = results.known(mutant)
        if failed is None:
            if judge is None:
                preload()
                judge = Judge(results, arguments.budget, bool(arguments.chain))
            failed = judge.failed(mutant)
            results.put(mutant, failed)
        (noticed if failed else survived).append(mutant.name)
        line = f"noticed by {failed}" if failed else "SURVIVED"
        print(f"[{time.monotonic() - start:5.0f} s] {number}/{len(mutants)} {mutant.name}\n    {line}", flush=True)
    for title, names in (("survived", survived), ("equivalent", equivalent)):
        for name in names:
            print(f"{title}: {name}" + (f"\n    {reason_of(name)}" if names is equivalent else ""))
    rate = len(noticed) / max(1, len(noticed) + len(survived))
    counts = f"{len(noticed)} noticed, {len(survived)} survived, {len(equivalent)} equivalent"
    print(f"{counts}: {rate:.1%} noticed; required {REQUIRED:.0%}")
    return int(rate < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
