"""The generator as an MLflow model: a table of prompts in, a table of asset paths out.

MLflow loads it through :func:`_load_pyfunc` of this module, so nothing in the model is unpickled; the environment that loads
it has vist3a installed (``--env-manager local``).
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vist3a_app.serving.requests import PROMPT, read_requests

MODEL = "generator"
OUTPUT = "VIST3A_OUTPUT"
PATHS = ("viewer", "gaussians", "points", "depth", "cameras", "video", "turntable", "picture")
TRACKING, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"
PATIENCE = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
DEFAULT_SECONDS, QUEUE_SECONDS = "60", "3600"


def record_generator(
    uri: str, run_id: str, name: str, parameters: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path]
) -> None:
    """Log the generator to a run and register it as a new version of the model ``name``.

    ``parameters`` are the groups ``generate``, ``distill`` and ``networks``; ``folders`` the stitched decoder and the adapter.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from vist3a_app.pipelines.generate.bundle import save_bundle
    from vist3a_app.pipelines.generate.params import GenerateParams
    from vist3a_app.pipelines.networks import Networks

    # Outputs only: by a schema of inputs MLflow makes seed 1 of 1.5 and drops a misspelt column. `read_requests` does neither.
    signature = ModelSignature(
        outputs=Schema([ColSpec(DataType.string, column) for column in (PROMPT, "folder", *PATHS)])
    )
    with TemporaryDirectory() as temporary, _tracking(uri, run_id), warnings.catch_warnings():
        # An example would be run, which loads the networks once more.
        warnings.filterwarnings("ignore", ".*An input example was not provided", UserWarning)
        bundle = Path(temporary) / "bundle"
        bundle.mkdir()
        save_bundle(
            bundle,
            GenerateParams(**parameters["generate"]),
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


@contextmanager
def _tracking(uri: str, run_id: str) -> Iterator[None]:
    """Within, MLflow's own functions use this store and the experiment of the run, else models lie in the working directory.

    They say so in the environment, which the next run must not read.
    """
    import mlflow

    before = {name: os.environ.get(name) for name in (TRACKING, EXPERIMENT)}
    mlflow.set_tracking_uri(uri)
    os.environ[EXPERIMENT] = str(mlflow.MlflowClient(uri).get_run(run_id).info.experiment_id)
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before[TRACKING])  # type: ignore[arg-type]  # None: as it was before anybody set it
        os.environ.pop(EXPERIMENT)
        os.environ.update({name: value for name, value in before.items() if value is not None})


class GeneratorModel:
    """What ``mlflow.pyfunc.load_model`` wraps."""

    def __init__(self, bundle: Path) -> None:
        from vist3a_app.pipelines.generate.bundle import load_bundle

        self.text_to_3d = load_bundle(bundle)

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """One row per prompt: its folder, paths of its assets (empty where the network has no such output).

        ``data`` has the column ``prompt`` and, optionally, ``seed``. Folders are made in the folder that the environment variable
        VIST3A_OUTPUT names, else in ``generated`` (not where a request says: a server's disk is not its clients'). Equal requests
        at the same time write equal files into one folder, each file whole.

        Raises:
            MlflowException: The request is refused, in one sentence (HTTP status 400), or files cannot be written (500).
        """
        import pandas as pd
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE

        output = Path(os.environ.get(OUTPUT) or "generated").resolve()
        try:
            requests = read_requests(data)
            self.text_to_3d.check([request.prompt for request in requests], whole=True)
        except ValueError as error:
            raise MlflowException(str(error), error_code=INVALID_PARAMETER_VALUE) from error
        rows = []
        for request in requests:
            scene = self.text_to_3d.generate(request.prompt, seed=request.seed)
            try:
                paths = scene.save(output)
            except OSError as error:
                raise MlflowException(
                    f"the scene cannot be written to {output}: {error}", error_code=INTERNAL_ERROR
                ) from error
            files = {kind: str(paths[kind]) if kind in paths else "" for kind in PATHS}
            rows.append({PROMPT: request.prompt, "folder": str(output / scene.name), **files})
        return pd.DataFrame(rows, columns=[PROMPT, "folder", *PATHS])


def _load_pyfunc(path: str) -> GeneratorModel:
    """Called by MLflow with the folder of the model's data."""
    # The server reads this after it has loaded the model. `mlflow models serve` puts its default there, a minute, which is soon
    # over for those who wait in line while the networks work for others.
    if os.environ.get(PATIENCE) == DEFAULT_SECONDS:
        os.environ[PATIENCE] = QUEUE_SECONDS
    return GeneratorModel(Path(path))
