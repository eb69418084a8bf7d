"""ShrinkPlan: what a shrink will do, and how long each phase should take."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from ddpnas.errors import OptionError
from ddpnas.runs.folder import SHRINK
from ddpnas.shrinking.controls import CONTROLS, Control
from ddpnas.shrinking.finding import DIVISOR, FRACTIONS
from ddpnas.shrinking.importance import Importance
from ddpnas.utils.checksums import CHECKSUM, check_checksum
from ddpnas.utils.read import checked_content, read_json
from ddpnas.utils.settings import Count, Epochs, MostImages, Seed, checked_fields
from ddpnas.utils.shapes import Range

__all__ = [
    "MASK_EPOCHS",
    "RECIPE",
    "Ending",
    "Method",
    "ShrinkPlan",
    "ShrinkSettings",
]

RECIPE = "finetune"
MASK_EPOCHS = 3  # of the method "pas"

Method = Literal["sensitivity", "pas"]
Ending = Literal["exact", "masks"]


@dataclass(frozen=True)
class ShrinkSettings:
    """How a network is cut; see :func:`ddpnas.shrink` for each of them.

    Example:
        >>> ShrinkSettings(minutes=5).candidates
        50
    """

    minutes: Annotated[float, Range(above=0, most=1_000_000)] = 20.0
    method: Method = "sensitivity"
    ending: Ending = "exact"
    epochs: Epochs | None = None
    head_epochs: Annotated[int, Range(0, 100_000)] = 0
    fractions: tuple[Annotated[float, Range(above=0, most=1)], ...] = FRACTIONS
    divisor: Count = DIVISOR
    keep: tuple[str, ...] = ()
    importance: Importance = "outputs"
    images: MostImages = 500
    candidates: Count = 50
    distil: bool = True
    controls: tuple[Control, ...] = CONTROLS
    seed: Seed = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        checked_fields(self, "a shrink")
        if self.ending == "masks" and self.method != "pas":
            raise OptionError('the ending "masks" needs the method "pas", which trains masks')


@dataclass(frozen=True)
class ShrinkPlan:
    """All that a shrink will do.

    Attributes:
        settings: The settings.
        limits: Limits of the network, as text; shares are turned into costs.
        phases: Name of a phase -> seconds that it should take.
        network: Name of the given network, or the absolute path of the folder that holds it; None
            for one of a Python program.
        weights: File of its weights, as an absolute path; None for its own.
        data: Arguments of :func:`ddpnas.load_data` for the images; None for Python objects.
        given: A hash of the given network's weights.
        images: A hash of the images.
    """

    settings: ShrinkSettings
    limits: dict[str, str]
    phases: dict[str, Annotated[float, Range(0)]]
    given: str
    images: str
    network: str | None = None
    weights: str | None = None
    code: dict[str, Any] | None = None
    data: dict[str, Any] | None = field(default=None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def read(cls, folder: str | Path) -> ShrinkPlan:
        """Return the plan in the folder of a shrink.

        Raises:
            RunError: The folder holds none, or it is damaged.
        """
        file = Path(folder) / SHRINK
        content: dict[str, Any] = read_json(file, dict[str, Any])
        rest = {key: value for key, value in content.items() if key != CHECKSUM}
        found: ShrinkPlan = checked_content(rest, cls, file)
        check_checksum(content, file, "restore it, or start again with another --out")
        return found
