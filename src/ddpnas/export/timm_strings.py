"""Mobile networks for timm: its block strings, and code that builds the same network with it."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Callable, Mapping

import torch
from torch import nn

from ddpnas.errors import OptionError
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces import mnasnet, mobilenet_v2
from ddpnas.spaces.mobile import Block, size_stages, timm_string

__all__ = ["timm_arch_def", "timm_code"]

ArchDef = list[list[str]]


def timm_arch_def(space: SearchSpace, architecture: Mapping[str, str]) -> ArchDef:
    """Return the block strings of an architecture, one list per stage.

    timm's ``decode_arch_def`` reads them. As in timm, the 1x1 convolution after the blocks of
    MobileNetV3 is a separate stage.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("mobilenet-v2")
        >>> first = {decision.name: decision.options[0] for decision in space.decisions}
        >>> timm_arch_def(space, first)[1][0]
        'ds_r1_k3_s2_c24'

    Args:
        space: One of the published mobile spaces: mobilenet-v2, mobilenet-v3 or mnasnet.
        architecture: An architecture of the space.

    Raises:
        OptionError: If timm has no block strings for this space.
    """
    if space.name not in _ARCH_DEFS:
        raise OptionError(
            f"timm has block strings for mobile networks only ({', '.join(_ARCH_DEFS)}), not for "
            f"space {space.name!r}"
        )
    return _ARCH_DEFS[space.name](space, space.canonical(space.check(architecture)))


def timm_code(space: SearchSpace, architecture: Mapping[str, str]) -> str:
    """Return Python code that builds the same network with timm, as ``model``.

    The state dictionaries have the same order, so weights can be copied entry by entry.

    Example:
        >>> import ddpnas
        >>> space = ddpnas.create_space("mobilenet-v2")
        >>> first = {decision.name: decision.options[0] for decision in space.decisions}
        >>> print(timm_code(space, first))
        from torch import nn
        ...
        arch_def = [
        ...

    Args:
        space: One of the published mobile spaces: mobilenet-v2, mobilenet-v3 or mnasnet.
        architecture: An architecture of the space.

    Raises:
        OptionError: If timm has no block strings for this space.
    """
    stages = timm_arch_def(space, architecture)
    name = str(space.name)
    convolutions = _convolutions(space, architecture)
    first, last = convolutions[0], convolutions[-1]
    lines = [
        *_IMPORTS[name],
        "from timm.models._efficientnet_builder import decode_arch_def, round_channels",
        "",
        "arch_def = [",
        *(f"    {stage!r}," for stage in stages),
        "]",
        f"model = {'MobileNetV3' if name == 'mobilenet-v3' else 'EfficientNet'}(",
        "    decode_arch_def(arch_def),",
        f"    num_classes={space.output_shape[0]},",
        f"    in_chans={space.input_shape[0]},",
        f"    stem_size={first.out_channels},",
        "    fix_stem=True,",
        f"    num_features={last.out_channels},",
        *(f"    {line}" for line in _ARGUMENTS[name]),
        f"    drop_rate={space.options['dropout']},",
        ")",
    ]
    if first.stride != (2, 2):
        lines.append(f"model.conv_stem.stride = {first.stride}  # timm's own is 2")
    return "\n".join(lines)


def _convolutions(space: SearchSpace, architecture: Mapping[str, str]) -> list[nn.Conv2d]:
    with torch.device("meta"):
        network = space.build(architecture)
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


def _mobilenet_v2(space: SearchSpace, architecture: Mapping[str, str]) -> ArchDef:
    return mobilenet_v2.timm_stages(architecture, space.options)


def _mobilenet_v3(space: SearchSpace, architecture: Mapping[str, str]) -> ArchDef:
    stages: ArchDef = ast.literal_eval(space.format(architecture))  # its text form is timm's
    before_last = _convolutions(space, architecture)[-2]
    return [*stages, [f"cn_r1_k1_s1_c{before_last.out_channels}"]]


def _mnasnet(space: SearchSpace, architecture: Mapping[str, str]) -> ArchDef:
    options = space.options
    _, stages = size_stages(mnasnet.STAGES, options["width"], options["reduction"])
    result = []
    for number, stage in enumerate(stages, start=1):
        expansion, kernel, layers, excite = (
            int(architecture[f"block{number}.{fact}"]) for fact in mnasnet.FACTS
        )
        asked = dataclasses.replace(stage, blocks=layers, excite=bool(excite))
        string = timm_string(Block(kernel, expansion), asked, stage.stride)
        result.append([string.replace("_r1_", f"_r{layers}_")])
    return result


_ARCH_DEFS: dict[str, Callable[[SearchSpace, Mapping[str, str]], ArchDef]] = {
    "mobilenet-v2": _mobilenet_v2,
    "mobilenet-v3": _mobilenet_v3,
    "mnasnet": _mnasnet,
}
_IMPORTS = {
    "mobilenet-v2": ["from torch import nn", "from timm.models.efficientnet import EfficientNet"],
    "mobilenet-v3": [
        "from functools import partial",
        "",
        "from torch import nn",
        "from timm.models._efficientnet_blocks import SqueezeExcite",
        "from timm.models.mobilenetv3 import MobileNetV3",
    ],
    "mnasnet": ["from torch import nn", "from timm.models.efficientnet import EfficientNet"],
}
_ARGUMENTS = {
    "mobilenet-v2": ["act_layer=nn.ReLU6,"],
    "mobilenet-v3": [
        "head_bias=False,",
        "act_layer=nn.Hardswish,",
        "se_layer=partial(",
        "    SqueezeExcite,",
        "    gate_layer='hard_sigmoid',",
        "    force_act_layer=nn.ReLU,",
        "    rd_round_fn=round_channels,",
        "),",
    ],
    "mnasnet": ["act_layer=nn.SiLU,"],
}
