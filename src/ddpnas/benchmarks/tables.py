"""load_table(): a benchmark table by name or from a file."""

from __future__ import annotations

import re
import zipfile
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ddpnas.benchmarks.table import Table
from ddpnas.errors import DataError, OptionError, nearest
from ddpnas.space.decisions import Decision, DecisionSpace
from ddpnas.utils.read import DAMAGED_ARRAYS

__all__ = ["list_tables", "load_table"]

_EMBEDDED = {"nasbench201": "nasbench201.npz", "nasbench-macro": "nasbench_macro.npz"}
_ACCURACY = re.compile(r"acc(\d+)_valid")
_SECONDS = re.compile(r"train_seconds_(\d+)")
_MACRO_EPOCHS = 0  # the table does not say how long its networks were trained


def list_tables() -> list[str]:
    """Return the names of the embedded tables.

    Example:
        >>> list_tables()
        ['nasbench-macro', 'nasbench201']
    """
    return sorted(_EMBEDDED)


def load_table(name: str, dataset: str | None = None, path: str | Path | None = None) -> Table:
    """Return a benchmark table.

    Args:
        name: One of :func:`list_tables`. With ``path``, any name for the table.
        dataset: A data set of the table; default: its first.
        path: A ``.npz`` file in the format that ``benchmarks/embedded/README.md`` describes.

    Raises:
        OptionError: The table or data set is unknown.
        DataError: The file does not exist or is not such a table.

    Example:
        >>> table = load_table("nasbench-macro")
        >>> len(table.rows), table.space.decisions[0].name
        (6561, 'layer1')
    """
    if path is not None:
        if not Path(path).is_file():
            raise DataError(f"there is no benchmark table at {path}")
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path} is not a benchmark table: it is not a .npz archive")
        try:
            return _read(name, Path(path), dataset, *_version(Path(path)))
        except KeyError as error:
            raise DataError(f"{path} is not a benchmark table: it has no {error}") from None
        except OptionError:
            raise
        except (*DAMAGED_ARRAYS, TypeError, IndexError) as error:  # or other types and shapes
            raise DataError(f"{path} is not a benchmark table: {error}") from None
    if name not in _EMBEDDED:
        raise OptionError(nearest("benchmark table", name, _EMBEDDED))
    file = resources.files("ddpnas.benchmarks") / "embedded" / _EMBEDDED[name]
    with resources.as_file(file) as found:
        return _read(name, found, dataset, *_version(found))


def _version(path: Path) -> tuple[int, int]:
    """Return time and size of a file, which tell a changed one."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=4)
def _read(name: str, path: Path, dataset: str | None, _time: int, _size: int) -> Table:
    """Return the table in a file; time and size are there for the cache."""
    with np.load(path, allow_pickle=False) as archive:
        arrays: dict[str, npt.NDArray[Any]] = {key: archive[key] for key in archive.files}
    for key, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{key!r} must be an array")
        if key in ("ops", "datasets") and array.ndim != 1:
            raise ValueError(f"{key!r} must be a list of names")
    architectures, n = arrays["arch"], len(arrays["ops"])
    if architectures.ndim != 2 or not np.isin(architectures, np.arange(n)).all():
        raise ValueError(f"its 'arch' is not rows x decisions of indices from 0 to {n - 1}")
    macro = "test_acc" in arrays and "datasets" not in arrays
    datasets = ["cifar10"] if macro else [str(d) for d in arrays["datasets"]]
    dataset = datasets[0] if dataset is None else dataset
    if dataset not in datasets:
        raise OptionError(nearest(f"data set of table {name!r}", dataset, datasets))
    space = _space(arrays)
    columns = _macro_columns(arrays) if macro else _columns(arrays, datasets.index(dataset))
    codes = np.zeros(len(architectures), dtype=np.int64)
    for column, decision in zip(architectures.T.astype(int), space.decisions, strict=True):
        codes = codes * len(decision.options) + column
    rows = np.argsort(codes, kind="stable")
    if (np.diff(codes[rows]) == 0).any():
        raise ValueError("its 'arch' has an architecture in two rows")
    return Table(name, dataset, space, codes[rows], rows, **columns)


def _space(arrays: dict[str, npt.NDArray[Any]]) -> DecisionSpace:
    architectures, options = arrays["arch"], [str(op) for op in arrays["ops"]]
    if "edges" in arrays:
        names = [f"{node}<-{source}" for source, node in arrays["edges"]]
    else:
        names = [f"layer{i + 1}" for i in range(architectures.shape[1])]
    counts = architectures.max(axis=0).astype(int) + 1
    return DecisionSpace(
        [Decision(n, tuple(options[:k])) for n, k in zip(names, counts, strict=True)]
    )


def _columns(arrays: dict[str, npt.NDArray[Any]], dataset: int) -> dict[str, Any]:
    known = sorted(int(m[1]) for m in map(_ACCURACY.fullmatch, arrays) if m)
    times = [(int(m[1]), key) for key in arrays if (m := _SECONDS.fullmatch(key))]
    if not known:
        raise ValueError("no array is called acc<EPOCHS>_valid")

    def column(key: str) -> npt.NDArray[Any]:
        shape = (len(arrays["datasets"]), len(arrays["arch"]))
        if arrays[key].shape != shape:
            raise ValueError(f"its {key!r} is {arrays[key].shape}, not data sets x rows, {shape}")
        values = arrays[key][dataset]
        if not np.isfinite(values).all():
            raise ValueError(f"its {key!r} has values that are not finite numbers")
        return np.asarray(values)

    measured = {epochs: column(key) for epochs, key in times}
    if any(values.min() <= 0 for values in measured.values()):
        raise ValueError("its seconds of training are not all above 0")
    longest = max(measured, default=0)
    return {
        "valid": {e: column(f"acc{e}_valid") for e in known},
        "test": {e: column(f"acc{e}_test") for e in known},
        "seconds": {e: measured.get(e, measured[longest] * np.float32(e / longest)) for e in known}
        if measured
        else {},
        "macs": column("macs"),
        "params": column("params"),
    }


def _macro_columns(arrays: dict[str, npt.NDArray[Any]]) -> dict[str, Any]:
    return {
        "valid": {_MACRO_EPOCHS: arrays["test_acc"][:, 0]},
        "test": {_MACRO_EPOCHS: arrays["test_acc"].mean(axis=1)},
        "seconds": {},
        "macs": arrays["flops"],
        "params": arrays["params"],
    }
