"""Changes that no test can notice, because the program does the same: by key, with the reason."""

EQUIVALENT: dict[str, str] = {}
