"""The values logged over a training run, kept across resumes, for reports that compare its beginning with its end."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from vist3a.runtime.atomic import replacing
from vist3a.runtime.step_log import Log


class History:
    """A :data:`Log` that forwards to another one and remembers; a resumed run overwrites the steps it repeats.

    Scalars whose name begins with one of ``passing`` are forwarded only: what differs from run to run is no result.
    """

    def __init__(self, forward: Log, path: Path, passing: Sequence[str] = ()) -> None:
        self.forward, self.path, self.passing = forward, path, tuple(passing)
        stored = json.loads(path.read_text()) if path.is_file() else {}
        # JSON has turned the numbers of the steps into texts.
        self.rows: dict[int, dict[str, float]] = {int(step): row for step, row in stored.items()}

    def __call__(self, step: int, scalars: Mapping[str, float]) -> None:
        """Remember, store, forward."""
        self.rows[step] = {name: value for name, value in scalars.items() if not name.startswith(self.passing)}
        with replacing(self.path) as partial:
            partial.write_text(json.dumps(self.rows))
        self.forward(step, scalars)

    def table(self) -> pd.DataFrame:
        """One row per logged step."""
        return pd.DataFrame([{"step": step, **self.rows[step]} for step in sorted(self.rows)])

    def ends(self, window: int) -> tuple[dict[str, float], dict[str, float]]:
        """Means over the first and the last ``window`` logged steps; what had no finite value there is left out."""
        table = self.table().drop(columns="step")
        first, last = table.head(window).mean(), table.tail(window).mean()
        return _finite(first), _finite(last)


def _finite(means: pd.Series[float]) -> dict[str, float]:
    return {str(name): float(value) for name, value in means.items() if math.isfinite(value)}
