"""What files keep of an answer of the solver, for :func:`ddpnas.utils.read.read_json`."""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

from ddpnas.utils.read import Measured, Whole

__all__ = ["CertificateForm", "RequestForm"]


class CertificateForm(TypedDict):
    """The proof of an answer, as far as it is read again."""

    gap: Measured


class RequestForm(TypedDict):
    """What was asked, and what rescoring chose."""

    objective: str
    survivors_only: bool
    height: int | None
    parametric: int | None
    costs_from: list[str]
    space_options: dict[str, Any]
    error_margin: NotRequired[float | str | None]
    rescored: NotRequired[Whole]
    chosen: NotRequired[Whole]
