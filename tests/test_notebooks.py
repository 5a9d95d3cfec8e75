"""The notebooks run from top to bottom."""

from __future__ import annotations

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    "path",
    [NOTEBOOKS[0], *(pytest.param(path, marks=pytest.mark.long) for path in NOTEBOOKS[1:])],
    ids=lambda path: path.stem,
)
def test_notebook_runs(path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    if not (REPOSITORY / "data" / "06_models" / "embedded" / "generator").is_dir():
        pytest.skip("the embedded networks are not here; `make setup` fetches them from the repository")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(REPOSITORY)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_there_is_a_notebook() -> None:
    assert NOTEBOOKS
