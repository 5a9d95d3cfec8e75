"""A picture as PNG, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset


class PngImage(AbstractDataset[Any, Any]):
    """Saves a tensor or array [3, height, width], floats in [0, 1] or bytes; loads bytes of that shape as a tensor."""

    def __init__(self, *, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> Any:
        import numpy as np
        import torch
        from PIL import Image

        with Image.open(self._path) as opened:
            return torch.from_numpy(np.array(opened.convert("RGB"))).permute(2, 0, 1)

    def save(self, data: Any) -> None:
        import torch

        from vist3a.export.video import save_image

        image = torch.as_tensor(data)
        if image.ndim != 3 or image.shape[0] != 3:
            raise ValueError(f"{self._path}: an image of shape {list(image.shape)}; allowed is [3, height, width]")
        save_image(self._path, image.float() / 255 if image.dtype == torch.uint8 else image)

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}
