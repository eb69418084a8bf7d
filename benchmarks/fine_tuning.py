"""How to fine-tune: recipes for EfficientNet-Lite0 with ImageNet weights on few small photographs.

One JSON line for each setting: accuracy on validation images, and the processor seconds of the
training. The recipe `finetune` was chosen by it.

    python -m benchmarks.lite0_weights lite0.safetensors
    python -m benchmarks.fine_tuning cifar10_jpeg_train.npz lite0.safetensors --threads 1
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from typing import Any

import torch

import ddpnas
from benchmarks.lite0_weights import NAME
from ddpnas.training import create_recipe, library_preprocessing, open_network

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "finetune": ("finetune", {}),
    "lr 3e-3": ("finetune", {"lr": 3e-3}),
    "lr 3e-4": ("finetune", {"lr": 3e-4}),
    "SGD 0.03": ("finetune", {"optimizer": "sgd", "lr": 0.03, "weight_decay": 1e-4}),
    "average": ("finetune", {"ema": 0.999}),
    "quick": ("quick", {}),
}


def main() -> None:
    """Measure and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("data", help="images, as for `ddpnas train --data`")
    parser.add_argument("weights", help="file that benchmarks.lite0_weights wrote")
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--images", type=int, default=2200, help="a third is for validation")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    network = f"timm:{NAME}"
    library = library_preprocessing(network)
    assert library is not None, "timm knows how its weights were trained"
    found = ddpnas.load_data(
        options.data,
        image_size=options.image_size,
        interpolation=library.interpolation,
        limit_train_images=options.images,
        valid_fraction=1 / 3,
    )
    data = dataclasses.replace(found, test=None)  # settings are chosen on validation images
    for name in options.settings:
        recipe, changes = SETTINGS[name]
        for seed in range(options.seeds):
            opened = open_network(
                network,
                num_classes=len(data.classes),
                input_shape=data.input_shape,
                weights=options.weights,
                seed=seed,
            )
            begun = time.process_time()
            result = ddpnas.train(
                opened.model,
                opened.prepare(data),
                create_recipe(recipe, epochs=options.epochs, **changes),
                seed=seed,
                device="cpu",
            )
            row = {
                "setting": name,
                "seed": seed,
                "accuracy": result.evaluation.accuracy,
                "images": [len(data.train), result.evaluation.items],
                "epochs": options.epochs,
                "loss": result.history[-1]["loss"],
                "processor_seconds": time.process_time() - begun,
            }
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
