"""The errors that ``python tests/mutations`` makes: each is one change of the source, and meets tests that can see it."""

from __future__ import annotations

import ast
import difflib
import re
from pathlib import Path

import pytest
from mutations.equivalent import EQUIVALENT, RULES, reason_of
from mutations.named import NAMED
from mutations.operators import OPERATORS, changed, changes
from mutations.selection import tests_of as files_of

PACKAGE = Path(__file__).resolve().parents[1] / "src"
MUTATED = ("alignment", "distillation", "export", "geometry", "metrics", "rendering", "sampling", "stitching")


@pytest.mark.parametrize("one", NAMED, ids=lambda one: one.name)
def test_a_named_error_has_its_place_in_the_source(one) -> None:
    source = (PACKAGE / one.module).read_text()
    assert source.count(one.before) == 1
    ast.parse(source.replace(one.before, one.after))


SOURCE = '''
"""Not "2 + 2"."""
TABLE = {"a": 3.5}

def f(x: Float[Tensor, "n 3"], y=2, *, flag=False):
    """Doc: 1 + 1."""
    if x > 3 and not flag:
        raise ValueError(f"{x + 1}")
    total = -g(x, y).clamp(min=0).sum(dim=-1) * 2.0
    total += x[1:]
    h(total, device=x.device, strict=True, dtype=y)
    return total
'''


def test_every_kind_of_change_is_made_once_and_nothing_else() -> None:
    found = changes("m.py", SOURCE)
    said = [change.key.removeprefix("m.py f ") for change in found]
    for wanted in (
        "[comparison] x > 3 -> x >= 3",
        "[number] 3 -> 4",
        "[number] False -> True",
        "[number] 2.0 -> 3.0",
        "[dropped] total += x[1:] -> pass",
        "[swapped] g(x, y) -> g(y, x)",
        "[unwrapped] g(x, y).clamp(min=0) -> g(x, y)",
        "[index] 1: -> 1:-1",
        "[arithmetic] total += x[1:] -> total -= x[1:]",
    ):
        assert wanted in said, said
    assert {key.split("[")[1].split("]")[0] for key in said} == OPERATORS.keys()
    # Texts, annotations, messages, defaults that are numbers, and places that have no effect here stay.
    assert not any("ValueError(f" in key and "dropped" not in key and "condition" not in key for key in said)
    assert any("dtype=y" in key.split(" -> ")[0] and "dtype=y" not in key.split(" -> ")[1] for key in said)
    forgotten = [key for key in said if key.startswith("[keyword]")]
    assert not any("device=" in key.split(" -> ")[0] and "device=" not in key.split(" -> ")[1] for key in forgotten)
    assert not any(key.startswith("[number] 2 -> 3") or "3.5" in key for key in said)
    before = ast.unparse(ast.parse(SOURCE)).splitlines()
    for change in found:
        after = changed(SOURCE, change).splitlines()
        different = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
        assert 1 <= len(different) <= 6, change.key


def test_keys_are_unique_and_the_equivalent_ones_exist() -> None:
    """No rule is left behind by what it spoke of, and none takes much of a module with it."""
    files = [path for folder in MUTATED for path in sorted((PACKAGE / "vist3a" / folder).rglob("*.py"))]
    by_module = {file: [c.key for c in changes(str(file.relative_to(PACKAGE)), file.read_text())] for file in files}
    keys = [key for found in by_module.values() for key in found]
    assert len(set(keys)) == len(keys) > 5000
    assert EQUIVALENT.keys() <= set(keys)
    for pattern, reason in RULES:
        assert len(reason) > 10 and any(re.search(pattern, key) for key in keys), pattern
    for file, found in by_module.items():
        assert sum(reason_of(key) is not None for key in found) <= max(3, 0.2 * len(found)), file
    assert sum(reason_of(key) is not None for key in keys) < 0.03 * len(keys)
    assert all(len(reason) > 10 for reason in EQUIVALENT.values())
    assert reason_of("vist3a/geometry/quaternion.py rotation_from_quaternion [number] 2.0 -> 3.0") is None


def test_the_tests_beside_a_module_come_first() -> None:
    chosen = files_of("vist3a/geometry/similarity.py", {}, 100.0, {})
    assert chosen[0].startswith("tests/geometry/")
    assert "tests/metrics/test_surface_metrics.py" in chosen and len(chosen) == 10
    # Whatever noticed another error of it is asked before them, and slow files wait.
    assert files_of("vist3a/geometry/similarity.py", {}, 100.0, {"tests/metrics/test_surface_metrics.py": 1})[0] == (
        "tests/metrics/test_surface_metrics.py"
    )
    slow = files_of("vist3a/geometry/similarity.py", {chosen[0]: 1000.0}, 100.0, {})
    assert chosen[0] not in slow
    # What runs in processes of its own is found through the script that it starts.
    assert "tests/runtime/test_processes.py" in files_of("vist3a/alignment/align.py", {}, 1000.0, {})
