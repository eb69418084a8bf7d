"""The packages of the onnx extra: whether they are there, and their exporters kept quiet."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from ddpnas.errors import OptionError

__all__ = ["need_onnx", "quiet"]


def need_onnx(*packages: str) -> None:
    """Raise the sentence that names the extra, unless these packages can be imported."""
    for package in packages:
        try:
            __import__(package)
        except ImportError:
            raise OptionError(
                f"this needs the package {package}: pip install 'ddpnas[onnx]'"
            ) from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters and quantisers from writing to the terminal."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
