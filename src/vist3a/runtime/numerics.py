"""What decides the last bits of a result in a process: taken from one process, put up in another."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

_VARIABLES = ("CUBLAS_WORKSPACE_CONFIG", "TORCHINDUCTOR_DETERMINISTIC")


@dataclass(frozen=True)
class Numerics:
    """Threads of the CPU, among which sums are cut; precision of products; deterministic algorithms.

    Example:
        >>> Numerics.of_this_process().put_up()
    """

    threads: int
    matmul: str
    deterministic: int
    fills_memory: bool
    benchmarks: bool
    variables: Mapping[str, str]

    @classmethod
    def of_this_process(cls) -> Numerics:
        """As they are here and now."""
        return cls(
            threads=torch.get_num_threads(),
            matmul=torch.get_float32_matmul_precision(),
            deterministic=torch.get_deterministic_debug_mode(),
            fills_memory=torch.utils.deterministic.fill_uninitialized_memory,  # type: ignore[attr-defined]
            benchmarks=torch.backends.cudnn.benchmark,
            variables={name: os.environ[name] for name in _VARIABLES if name in os.environ},
        )

    def put_up(self) -> None:
        """Make this process compute like the one they are of."""
        os.environ.update(self.variables)
        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision(self.matmul)
        torch.set_deterministic_debug_mode(self.deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = self.fills_memory  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = self.benchmarks


@contextmanager
def threads_kept() -> Iterator[None]:
    """Within, a library may change the number of threads of torch; behind, it is what it was.

    Parallel code of Numba sets that of OpenMP for the whole process, and with it how torch cuts its sums.
    """
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
