"""``python -m vist3a`` runs a pipeline of this project: the options of ``kedro run``."""

from __future__ import annotations

import logging
import sys
from pathlib import Path


def main() -> None:
    """Entry point."""
    here = Path.cwd()
    if not (here / "pyproject.toml").is_file():
        # Away from a project Kedro tells which of its own files say how it logs.
        logging.disable(logging.INFO)
    from kedro.framework.startup import bootstrap_project
    from kedro.utils import find_kedro_project, is_kedro_project

    from vist3a_app.cli import run

    if is_kedro_project(here):
        bootstrap_project(here)
    elif not {"--help", "-h"} & set(sys.argv[1:]):
        above = find_kedro_project(here)
        where = f"the checkout {above}" if above is not None else "a checkout of vist3a"
        sys.exit(f"Error: {here} is no project (it has no pyproject.toml with [tool.kedro]); run this in {where}")
    # By this name Kedro looks up what a file given by --config says.
    run(sys.argv[1:], prog_name="run", standalone_mode=True)


if __name__ == "__main__":
    main()
