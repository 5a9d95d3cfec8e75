"""The generator as an MLflow model: a table of prompts in, a table of asset paths out.

MLflow loads it through :func:`_load_pyfunc` of this module, so nothing in the model is unpickled; the environment that loads
it has vist3a installed (``--env-manager local``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

MODEL = "generator"
OUTPUT = "VIST3A_OUTPUT"
PATHS = ("viewer", "gaussians", "points", "depth", "cameras", "video", "turntable", "picture")


def record_generator(
    uri: str, run_id: str, name: str, parameters: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path]
) -> None:
    """Log the generator to a run and register it as a new version of the model ``name``.

    ``parameters`` are the groups ``generate``, ``distill`` and ``networks``; ``folders`` the stitched decoder and the adapter.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from vist3a.pipelines.distill.params import DistillParams
    from vist3a.pipelines.generate.bundle import save_bundle
    from vist3a.pipelines.generate.params import GenerateParams
    from vist3a.pipelines.networks import Networks

    signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string, "prompt"), ColSpec(DataType.long, "seed", required=False)]),
        outputs=Schema([ColSpec(DataType.string, column) for column in ("prompt", "folder", *PATHS)]),
    )
    mlflow.set_tracking_uri(uri)
    with TemporaryDirectory() as temporary:
        bundle = Path(temporary) / "bundle"
        bundle.mkdir()
        save_bundle(
            bundle,
            GenerateParams(**parameters["generate"]),
            DistillParams(**parameters["distill"]),
            Networks(**parameters["networks"]),
            folders["stitched_decoder"],
            folders["aligned_generator"],
        )
        Model.log(
            None,
            mlflow.pyfunc,
            registered_model_name=name,
            run_id=run_id,
            name=MODEL,
            loader_module=__name__,
            data_path=str(bundle),
            signature=signature,
            # Named, because finding them out would load the networks in another process.
            pip_requirements=[f"vist3a=={version('vist3a')}"],
        )


class GeneratorModel:
    """What ``mlflow.pyfunc.load_model`` wraps."""

    def __init__(self, bundle: Path) -> None:
        from vist3a.pipelines.generate.bundle import load_bundle

        self.text_to_3d = load_bundle(bundle)

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """One row per prompt: its folder, paths of its assets (empty where the network has no such output).

        ``data`` has the column ``prompt`` and, optionally, ``seed``. Folders are made in the folder that the environment variable
        VIST3A_OUTPUT names, else in ``generated`` (not where a request says: a server's disk is not its clients').
        """
        import pandas as pd

        output = Path(os.environ.get(OUTPUT) or "generated").resolve()
        prompts = [str(prompt) for prompt in data["prompt"]]
        self.text_to_3d.check(prompts)
        seeds = data["seed"] if "seed" in data else [None] * len(prompts)
        rows = []
        for prompt, seed in zip(prompts, seeds, strict=True):
            scene = self.text_to_3d.generate(prompt, seed=None if pd.isna(seed) else int(seed))
            paths = scene.save(output)
            files = {kind: str(paths[kind]) if kind in paths else "" for kind in PATHS}
            rows.append({"prompt": prompt, "folder": str(output / scene.name), **files})
        return pd.DataFrame(rows, columns=["prompt", "folder", *PATHS])


def _load_pyfunc(path: str) -> GeneratorModel:
    """Called by MLflow with the folder of the model's data."""
    return GeneratorModel(Path(path))
