"""Read labels as people save them: numbers or names, one for each image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from torch import Tensor

from ddpnas.errors import DataError
from ddpnas.utils.text import unwritable

__all__ = ["check_classes", "read_label", "read_labels"]


def read_labels(labels: Any, name: str) -> np.ndarray[Any, Any]:
    """Return labels as an (N,) array of int64, or of texts if they are names.

    Args:
        labels: (N,) or (N, 1) whole numbers of any type, or names.
        name: What to call the labels in messages.

    Raises:
        DataError: The labels have another shape, or some are neither whole numbers nor names.
    """
    values = _array(labels)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        shape = "x".join(map(str, values.shape)) or "a single value"
        raise DataError(f"{name} is {shape}; one label for each image is needed{_columns(values)}")
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


def read_label(label: Any, name: str) -> int:
    """Return the label of one item.

    Args:
        label: A whole number of any type, also in an array or tensor with one element.
        name: What to call the label in messages.

    Raises:
        DataError: It is something else.
    """
    if isinstance(label, (str, bytes)):
        raise DataError(
            f"{name} is a text; labels of a dataset are whole numbers, not names like {label!r}: "
            f"number the classes and pass their names as classes=..."
        )
    value = _array(label)
    if value.dtype.kind not in "biuf":
        raise DataError(f"{name} is of type {type(label).__name__}; it must be a whole number")
    if value.size != 1:
        raise DataError(
            f"{name} has {value.size} values; it must be one whole number"
            f"{_columns(value[None] if value.ndim == 1 else value)}"
        )
    return int(read_labels(value.reshape(1), name)[0])


def check_classes(classes: Iterable[Any], name: str) -> tuple[str, ...]:
    """Return names of classes, which appear in files, tables and messages.

    Args:
        classes: Names by label.
        name: What to call them in messages.

    Raises:
        DataError: A name is no text or is there twice, is not valid Unicode (such as the name of
            a folder that is not UTF-8), or has a line break or another control character.
    """
    names = tuple(classes)
    for one in names:
        if not isinstance(one, str):
            raise DataError(f"{name} must be texts, not {type(one).__name__} ({one!r})")
        if why := unwritable(one):
            raise DataError(f"{name} have the name {one!r}, which {why}; rename the class")
    if len(set(names)) < len(names):
        twice = next(one for one in names if names.count(one) > 1)
        raise DataError(f"{name} names {twice!r} twice; every class needs its own name")
    return names


def _array(labels: Any) -> np.ndarray[Any, Any]:
    """Return labels as an array; one of objects if they do not fit together."""
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu()
        labels = labels.double() if labels.is_floating_point() else labels
    try:
        return np.asarray(labels)
    except ValueError:  # rows of different lengths
        return np.array([None, *labels], dtype=object)[1:]


def _columns(values: np.ndarray[Any, Any]) -> str:
    """Return what to do about labels with one column for each class, as the end of a sentence."""
    if values.ndim != 2 or values.dtype.kind not in "biuf" or values.shape[1] == 0:
        return ""
    if (np.isin(values, (0, 1)) & (values.sum(axis=1, keepdims=True) == 1)).all():
        return " (of a column for each class, save argmax(axis=1))"
    return "; a network here learns one class for each image, not several labels or a share of each"
