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

MODEL = "generator"
TRACKING, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID"
SQLITE = "sqlite:///"
STORE = f"{SQLITE}mlflow.db"
"""Of registered generators, where the environment names no other."""
PATIENCE = "MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT"
DEFAULT_SECONDS, QUEUE_SECONDS = "60", "3600"


def record_generator(
    uri: str, run_id: str, name: str, parameters: Mapping[str, Mapping[str, Any]], folders: Mapping[str, Path]
) -> None:
    """Log the generator to a run and register it as a new version of the model ``name``.

    ``parameters`` are the groups ``generate`` and ``networks``; ``folders`` the stitched decoder and the adapter.
    """
    import mlflow
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, DataType, Schema

    from vist3a_app.pipelines.generate.bundle import save_bundle
    from vist3a_app.pipelines.generate.params import GenerateParams
    from vist3a_app.pipelines.networks import Networks
    from vist3a_app.serving.service import COLUMNS

    # Outputs only: by a schema of inputs MLflow makes seed 1 of 1.5 and drops a misspelt column. `read_requests` does neither.
    signature = ModelSignature(outputs=Schema([ColSpec(DataType.string, column) for column in COLUMNS]))
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


def registered_bundle(model: str) -> Path:
    """The bundle of a registered generator on this machine, fetched from its store where it is elsewhere.

    Args:
        model: As MLflow names models: ``models:/vist3a/latest``, ``models:/vist3a/3``.

    Raises:
        FileNotFoundError: There is no store here, or no such model in it.
        ValueError: The model is none of ours.
    """
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.models import Model

    uri = os.environ.get(TRACKING) or STORE
    remedy = (
        "allowed: a generator that `kedro run --pipelines=stitch` has registered, or the folder of a project or bundle"
    )
    # MLflow would make an empty store of a name that is not there.
    if uri.startswith(SQLITE) and not Path(uri.removeprefix(SQLITE)).is_file():
        raise FileNotFoundError(f"--model {model}: no store {uri} here; {remedy}")
    try:
        folder = Path(mlflow.artifacts.download_artifacts(model, tracking_uri=uri, registry_uri=uri))
        flavor = Model.load(str(folder)).flavors.get("python_function", {})
    except MlflowException as error:
        raise FileNotFoundError(f"--model {model}: {next(iter(str(error).splitlines()), '')}; {remedy}") from error
    if flavor.get("loader_module") != __name__:
        raise ValueError(f"--model {model} is a model of another kind; {remedy}")
    return folder / str(flavor["data"])


class GeneratorModel:
    """What ``mlflow.pyfunc.load_model`` wraps: MLflow's door to :class:`vist3a_app.serving.service.SceneService`."""

    def __init__(self, bundle: Path) -> None:
        from vist3a_app.pipelines.generate.bundle import load_bundle
        from vist3a_app.serving.service import SceneService

        self.service = SceneService(load_bundle(bundle))

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> Any:
        """A table of answers (``service.COLUMNS``) to a table of requests (``requests.COLUMNS``).

        Raises:
            MlflowException: The request is refused, in one sentence (HTTP status 400), or files cannot be written (500).
        """
        import pandas as pd
        from mlflow.exceptions import MlflowException
        from mlflow.protos.databricks_pb2 import INTERNAL_ERROR, INVALID_PARAMETER_VALUE

        from vist3a_app.serving.service import COLUMNS, RefusedError

        try:
            rows = self.service.answer(data)
        except RefusedError as error:
            code = INVALID_PARAMETER_VALUE if error.status == 400 else INTERNAL_ERROR
            raise MlflowException(str(error), error_code=code) from error
        return pd.DataFrame(rows, columns=list(COLUMNS))


def _load_pyfunc(path: str) -> GeneratorModel:
    """Called by MLflow with the folder of the model's data."""
    # The server reads this after it has loaded the model. `mlflow models serve` puts its default there, a minute, which is soon
    # over for those who wait in line while the networks work for others.
    if os.environ.get(PATIENCE) == DEFAULT_SECONDS:
        os.environ[PATIENCE] = QUEUE_SECONDS
    return GeneratorModel(Path(path))
