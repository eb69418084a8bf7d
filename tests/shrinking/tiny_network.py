"""A network in a user's file, for tests of commands."""

from torch import nn


def network(num_classes=3, input_shape=(1, 8, 8)):
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, num_classes),
    )  # fmt: skip
