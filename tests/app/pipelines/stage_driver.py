"""``stage_driver.py ROOT PIPELINE VALUES``: one pipeline of the tiny project in ROOT, in a process that can be killed."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tiny_chain

if __name__ == "__main__":
    tiny_chain.run(Path(sys.argv[1]), sys.argv[2], json.loads(Path(sys.argv[3]).read_text()))
