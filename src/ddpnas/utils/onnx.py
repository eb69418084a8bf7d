"""Packages of the onnx extra: check that they are installed, and silence their exporters."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from ddpnas.errors import OptionError

__all__ = ["need_onnx", "quiet"]


def need_onnx(*packages: str) -> None:
    """Check that packages for ONNX files can be imported.

    Args:
        packages: Names of packages.

    Raises:
        OptionError: One cannot; the message says how to install it.
    """
    for package in packages:
        try:
            __import__(package)
        except ImportError:
            raise OptionError(f"this needs the package {package}: pip install {package}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep exporters and quantizers from writing to the terminal inside."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
