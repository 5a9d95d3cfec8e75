"""Rewrites the code dependencies in ``dvc.yaml`` from the imports (``make dvc-stages``); everything else stays as it is."""

from __future__ import annotations

import sys
from pathlib import Path

from ruamel.yaml import YAML

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY / "tests")]


def main() -> None:
    """Rewrite the file in place."""
    import project_config
    import project_graph

    yaml = YAML()
    yaml.width = 120
    yaml.indent(mapping=2, sequence=2, offset=0)
    file = REPOSITORY / "dvc.yaml"
    content = yaml.load(file)
    for name, stage in content["stages"].items():
        data = [path for path in stage["deps"] if not path.startswith("src/")]
        code = project_graph.code_of(name, project_config.stage(name).dataset_types)
        stage["deps"] = [*data, *code]
    yaml.dump(content, file)


if __name__ == "__main__":
    main()
