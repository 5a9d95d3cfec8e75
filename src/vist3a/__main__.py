"""``python -m vist3a`` runs a pipeline of this project: the options of ``kedro run``."""

from __future__ import annotations

import sys
from pathlib import Path


def main() -> None:
    """Entry point."""
    from kedro.framework.cli.project import run
    from kedro.framework.startup import bootstrap_project

    bootstrap_project(Path.cwd())
    # By this name Kedro looks up what a file given by --config says.
    run(sys.argv[1:], prog_name="run", standalone_mode=True)


if __name__ == "__main__":
    main()
