"""The networks that benchmarks.shrink cuts, trained once and kept in a folder."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

import ddpnas
from ddpnas.training.checkpoint import load_weights, save_weights
from ddpnas.utils.seeds import seeded

__all__ = ["given_lite0", "given_resnet20", "resnet20"]


class _Block(nn.Module):
    """The residual block of He et al. (arXiv 1512.03385), with a convolution as shortcut."""

    def __init__(self, given: int, width: int, stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(
            nn.Conv2d(given, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.skip: nn.Module = nn.Identity()
        if stride > 1:
            self.skip = nn.Sequential(
                nn.Conv2d(given, width, 1, stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum of both branches."""
        return torch.relu(self.inner(x) + self.skip(x))


def resnet20(channels: int, classes: int) -> nn.Module:
    """Return ResNet-20 for small images."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    ]  # fmt: skip
    width = 16
    for out in (16, 32, 64):
        for _ in range(3):
            layers.append(_Block(width, out, 1 if out == width else 2))
            width = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes))


def given_resnet20(work: Path, images: int) -> tuple[nn.Module, ddpnas.Data]:
    """Return a trained ResNet-20; it is trained if its weights are not in the folder."""
    data = ddpnas.load_data("fashion-mnist-12k", limit_train_images=images)
    with seeded(0):
        model = resnet20(data.input_shape[0], len(data.classes))
    file = work / f"resnet20-{images}.safetensors"
    if file.exists():
        model.load_state_dict(load_weights(file))
    else:
        trained = ddpnas.train(model, data, epochs=12, device="cpu")
        model = trained.model
        work.mkdir(parents=True, exist_ok=True)
        save_weights(file, model.state_dict())
    return model.eval(), data


def given_lite0(
    work: Path, file_of_images: Path, weights: Path, images: int, size: int = 64
) -> tuple[nn.Module, ddpnas.Data]:
    """Return EfficientNet-Lite0, fine-tuned on photographs unless its weights are in the folder."""
    name = "timm:tf_efficientnet_lite0"
    data = ddpnas.load_data(
        file_of_images, image_size=size, interpolation="bicubic", limit_train_images=images
    )
    opened = ddpnas.open_network(
        name, num_classes=len(data.classes), input_shape=data.input_shape, weights=weights
    )
    data, file = opened.prepare(data), work / f"lite0-{len(data.train)}-{size}.safetensors"
    if file.exists():
        opened.model.load_state_dict(load_weights(file))
        return opened.model.eval(), data
    model = ddpnas.train(opened.model, data, "finetune", epochs=6, device="cpu").model
    work.mkdir(parents=True, exist_ok=True)
    save_weights(file, model.state_dict())
    return model.eval(), data
