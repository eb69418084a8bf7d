"""Read labels as people save them: numbers or names, one for each image."""

from __future__ import annotations

from typing import Any

import numpy as np

from ddpnas.errors import DataError

__all__ = ["read_labels"]


def read_labels(labels: Any, name: str) -> np.ndarray[Any, Any]:
    """Return labels as an (N,) array of int64, or of texts if they are names.

    Args:
        labels: (N,) or (N, 1) whole numbers of any type, or names.
        name: What to call the labels in messages.

    Raises:
        DataError: The labels have another shape, or some are neither whole numbers nor names.
    """
    values = np.asarray(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        shape = "x".join(map(str, values.shape)) or "a single value"
        raise DataError(
            f"{name} is {shape}; one label an image is needed (of a column for each class, save "
            f"argmax(axis=1))"
        )
    if values.dtype.kind == "S":
        return np.char.decode(values, "utf-8", "replace")
    if values.dtype.kind == "U":
        return values
    if values.dtype.kind not in "biuf":
        raise DataError(f"{name} is {values.dtype}; labels are whole numbers or names")
    largest = np.iinfo(np.int32).max
    whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) <= largest)
    if not whole.all():
        raise DataError(
            f"{name} has {values[~whole][0]}; labels are whole numbers (0, 1, 2, ...) or names"
        )
    return values.astype(np.int64)
