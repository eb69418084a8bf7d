"""A pretrained network as a competitor: fine-tuned by ``ddpnas fit --start``, and by hand.

EfficientNet-Lite0 with the weights that :mod:`benchmarks.lite0_weights` writes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch import nn

import ddpnas
from benchmarks.lite0_weights import NAME
from ddpnas.data.data import Data
from ddpnas.fitting.speed import epoch_seconds
from ddpnas.training import create_recipe, open_network
from ddpnas.training.pretrained import load_data_for

__all__ = ["fine_tuned", "is_start"]

_START = f"timm:{NAME}"


def is_start(name: str) -> bool:
    """Return whether a competitor is a pretrained network: "start", or "tuned-64" and the like."""
    return name == "start" or name.startswith("tuned-")


def fine_tuned(
    name: str, data: Data, seconds: float, seed: int, weights: Path
) -> tuple[nn.Module, Data, dict[str, Any]]:
    """Return the network, the data as it was trained on them, and what is to be said of it.

    Args:
        name: "start" for ``fit``, which chooses the size of the images, or "tuned-64" for images of
            64 pixels a side and the recipe "finetune".
        data: Images of any size, without test images.
        seconds: Seconds from loaded images to final weights.
        seed: Seed for everything random.
        weights: File of weights.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "photos.npz"
        arrays = {}
        for key, split in (("train", data.train), ("valid", data.valid)):
            one = cast(Any, split)
            arrays[f"{key}_images"] = one.inputs.permute(0, 2, 3, 1).numpy()
            arrays[f"{key}_labels"] = one.labels.numpy()
        np.savez(file, allow_pickle=False, **arrays)
        begun = time.perf_counter()
        if name == "start":
            fitted = ddpnas.fit(
                file, None, seconds / 60, start=_START, weights=weights, seed=seed, device="cpu"
            )
            model, trained_on = fitted.model, fitted.trained.data
            epochs = len(fitted.trained.history)
        else:
            size = int(name.removeprefix("tuned-"))
            resized = load_data_for(_START, file, image_size=size)
            opened = open_network(
                _START, num_classes=len(data.classes), input_shape=resized.input_shape,
                weights=weights, seed=seed,
            )  # fmt: skip
            recipe, trained_on = create_recipe("finetune"), opened.prepare(resized)
            each = epoch_seconds(opened.model, trained_on, recipe, "cpu")
            left = seconds - (time.perf_counter() - begun)
            trained = ddpnas.train(
                opened.model, trained_on, recipe, epochs=max(1, int(2 * left / each)), seconds=left,
                seed=seed, device="cpu",
            )  # fmt: skip
            model, epochs = trained.model, len(trained.history)
        took = time.perf_counter() - begun
    assert trained_on is not None
    about = {"took": round(took, 2), "epochs": epochs, "pixels": trained_on.input_shape[-1]}
    return model, trained_on, about
