"""Bodies of requests over HTTP, read into tables, and refusals as answers."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from vist3a_app.serving.requests import COLUMNS
from vist3a_app.serving.service import RefusedError

RECORDS = "dataframe_records"
JSON = "application/json"
CODES = {
    400: "INVALID_PARAMETER_VALUE",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


def refused(request: Request, error: Exception) -> Response:
    """A refusal: ``{"error_code": ..., "message": ...}`` with its status."""
    assert isinstance(error, RefusedError)
    return refusal(error.status, str(error))


def refusal(status: int, sentence: str) -> Response:
    """A sentence with its status."""
    return JSONResponse({"error_code": CODES[status], "message": sentence}, status)


def read_body(kind: str, body: bytes) -> Any:
    """The table of a body, for :meth:`vist3a_app.serving.service.SceneService.read`.

    Raises:
        RefusedError: It is no JSON, or of another shape.
    """
    import pandas as pd

    # Browsers let any page send other types without asking this server.
    if kind.partition(";")[0].strip().lower() != JSON:
        raise RefusedError(f"Content-Type {kind!r}; allowed: {JSON}")
    try:
        values: Any = json.loads(body)
    except ValueError as error:
        raise RefusedError(f"the request is not JSON: {error}; {COLUMNS}") from error
    # One request alone is a table of one row.
    if isinstance(values, dict) and RECORDS not in values:
        values = {RECORDS: [values]}
    records = values.get(RECORDS) if isinstance(values, dict) and len(values) == 1 else None
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise RefusedError(
            f'the request is no {{"{RECORDS}": [{{...}}]}} alone and no object of one request; {COLUMNS}'
        )
    # As objects: a gap in a column must not make floating-point numbers of large integers.
    return pd.DataFrame(records, dtype=object)
