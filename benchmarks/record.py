"""How a measurement is kept: JSON with the versions and the machine that it was made with."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import scipy
import torch

from ddpnas.runs.identity import versions
from ddpnas.utils.files import write_atomic

__all__ = ["write_record"]


def write_record(
    path: Path, record: Mapping[str, Any], device: torch.device | str = "cpu", processes: int = 1
) -> None:
    """Write the record, and under ``made_with`` what it was made with.

    Args:
        path: of the JSON file.
        record: plain data.
        device: on which it was measured; a GPU is named.
        processes: that measured together.
    """
    device = torch.device(device)
    made_with = {
        **versions(device, processes),
        "scipy": scipy.__version__,
        "load_average": os.getloadavg(),
    }
    if device.type == "cuda":
        made_with["device"] = torch.cuda.get_device_name(device)
    write_atomic(path, (json.dumps({**record, "made_with": made_with}, indent=1) + "\n").encode())
