"""Parameters and multiply-adds of a network, of its graph, and of the file made from it.

A file may hold less than its network, for three reasons, and all are counted here. Parts that do
not reach the output (an auxiliary head, a node that nothing uses) are not in the graph. BatchNorm
after a convolution is folded into it: its scale and shift become a bias. And the exporter drops
biases that are all zero, and stores equal tensors once.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils.flop_counter import FlopCounterMode

from ddpnas.space.meta import move_to_meta

__all__ = ["Counts", "Sizes", "count"]


@dataclass(frozen=True)
class Sizes:
    """Size of a network or file.

    Attributes:
        params: Number of parameters.
        macs: Multiply-adds for one input.
    """

    params: int
    macs: int


@dataclass(frozen=True)
class Counts:
    """Sizes of a network and of its file, and what explains the difference.

    Attributes:
        network: Size of the module in evaluation mode.
        unreachable: Size of its parts that do not reach the output.
        folded_params: Number of BatchNorm parameters that folding made unnecessary.
        implied_params: Number of parameters that the file leaves out, as they are all zero or equal
            to others that it stores.
        file: Size counted in the file alone.
    """

    network: Sizes
    unreachable: Sizes
    folded_params: int
    implied_params: int
    file: Sizes

    @property
    def add_up(self) -> bool:
        """Whether the file holds exactly what is neither unreachable nor folded."""
        left = self.network.params - self.unreachable.params
        left -= self.folded_params + self.implied_params
        return self.file == Sizes(left, self.network.macs - self.unreachable.macs)

    def explain(self) -> str:
        """Return the comparison as a sentence."""
        network, file = self.network, self.file
        text = f"{file.params:,} parameters, {file.macs:,} MACs in the file"
        if self.unreachable.params or self.unreachable.macs:
            text += (
                f"; {self.unreachable.params:,} and {self.unreachable.macs:,} in parts that do not "
                "reach the output"
            )
        if self.folded_params:
            text += f"; {self.folded_params:,} of BatchNorm folded into convolutions"
        if self.implied_params:
            text += f"; {self.implied_params:,} left out, all zero or equal to others"
        adds_up = "adds up" if self.add_up else "does NOT add up"
        of_network = f"the {network.params:,} and {network.macs:,} of the network"
        return f"{text}; this {adds_up} to {of_network}"


def count(network: nn.Module, program: ExportedProgram, example: Tensor, file: Any) -> Counts:
    """Count network, program and file.

    Args:
        network: The network as it is deployed.
        program: Its functional graph, as it was translated into the file.
        example: One input of the graph.
        file: The ``onnx.ModelProto``.
    """
    params = sum(p.numel() for p in network.parameters())
    claimed = Sizes(params, _macs(network, example))
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    reached = Sizes(_reached_params(program), _macs(program.module(), example))
    unreachable = Sizes(claimed.params - reached.params, claimed.macs - reached.macs)
    names = [{n for n, _ in named()} for named in (network.named_parameters, network.named_buffers)]
    counted = Sizes(_file_params(file, *names), _file_macs(file))
    folded, in_norms = _folded(program, file)
    return Counts(claimed, unreachable, folded, _implied(program, file, in_norms), counted)


def _macs(module: nn.Module, example: Tensor) -> int:
    """Return the multiply-adds of one input, on the meta device, where no kernels are fused."""
    module = move_to_meta(copy.deepcopy(module))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(example.to("meta"))
    flops: int = counter.get_total_flops()
    return flops // (2 * len(example))


def _reached_params(program: ExportedProgram) -> int:
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    names = program.graph_signature.inputs_to_parameters
    return sum(program.state_dict[name].numel() for key, name in names.items() if key in used)


def _folded(program: ExportedProgram, file: Any) -> tuple[int, set[Any]]:
    """Return how many more parameters the graph has for BatchNorm than the file, and their inputs.

    The inputs are those of the graph that folding accounts for.
    """
    signature = program.graph_signature
    named = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    tensors: dict[Any, Any] = {key: program.state_dict[name] for key, name in named.items()}
    tensors[None] = None
    kept = sum(node.op_type == "BatchNormalization" for node in file.graph.node)
    norms = [n for n in program.graph.nodes if "batch_norm_legit_no_training" in str(n.target)]
    inputs, biases = set[Any](), 0
    terms: dict[Any, Tensor] = {}  # once each, also where several norms share them
    stay = set[Any]()
    for norm in norms:
        source = norm.args[0]
        if "conv" not in str(source.target) or len(source.users) > 1:
            # The exporter folds only a norm that directly follows its convolution.
            stay.update(getattr(argument, "name", None) for argument in norm.args[1:3])
            continue
        kept += 1
        bias = source.args[2] if len(source.args) > 2 else None
        keys = [getattr(argument, "name", None) for argument in (*norm.args[1:5], bias)]
        scale, shift, mean, variance, before = (tensors[key] for key in keys)
        inputs.update(keys)
        terms |= {keys[i]: tensors[keys[i]] for i in (0, 1, 4) if tensors[keys[i]] is not None}
        factor = (variance + norm.args[-1]).rsqrt() * (1 if scale is None else scale)
        after = ((0 if before is None else before) - mean) * factor
        after = after if shift is None else after + shift
        # The exporter leaves out a bias that is all zeros.
        biases += int(bool(after.any())) * after.numel()
    saved = sum(term.numel() for key, term in terms.items() if key not in stay) - biases
    # If the file keeps other norms than these, claim nothing: the sizes then do not add up.
    return (saved, inputs) if kept == len(norms) else (0, set())


def _implied(program: ExportedProgram, file: Any, folded: set[Any]) -> int:
    """Return how many parameters the exporter left out as needless, apart from folded ones."""
    from onnx import numpy_helper

    stored = {i.name for i in file.graph.initializer}
    used = {node.name for node in program.graph.nodes if node.op == "placeholder" and node.users}
    names = program.graph_signature.inputs_to_parameters
    implied = 0
    for key in (names.keys() & used) - folded:
        tensor = program.state_dict[names[key]].detach().cpu()
        if names[key] in stored or key in stored:
            continue
        alike = (i for i in file.graph.initializer if list(i.dims) == list(tensor.shape))
        if not tensor.any() or any(
            np.array_equal(numpy_helper.to_array(i), tensor.numpy()) for i in alike
        ):
            implied += tensor.numel()
    return implied


def _file_params(file: Any, parameters: set[str], buffers: set[str]) -> int:
    """Return the number of weights in the file: float constants except buffers and scalars."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    # A PReLU may have one slope, which the exporter gives another name.
    slopes = {node.input[1] for node in file.graph.node if node.op_type == "PRelu"}
    sizes = {
        i.name: torch.Size(i.dims).numel()
        for i in file.graph.initializer
        if i.data_type in floats
        and (torch.Size(i.dims).numel() > 1 or i.name in parameters | slopes)
    }
    # Of the four inputs of a BatchNormalization node, scale and shift are parameters; mean and
    # variance are buffers.
    norms = [list(n.input) for n in file.graph.node if n.op_type == "BatchNormalization"]
    in_norms = {name for inputs in norms for name in inputs[1:]}
    scaling = {name for inputs in norms for name in inputs[1:3]}  # norms may share them
    total = sum(sizes.get(name, 0) for name in scaling)
    return total + sum(n for name, n in sizes.items() if name not in in_norms | buffers)


def _file_macs(file: Any) -> int:
    """Return the multiply-adds of one input, using the shapes that ONNX infers."""
    import onnx

    single = onnx.ModelProto()
    single.CopyFrom(file)
    for value in (*single.graph.input, *single.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del single.graph.value_info[:]
    graph = onnx.shape_inference.infer_shapes(single, data_prop=True).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    shapes.update({i.name: list(i.dims) for i in graph.initializer})
    total = 0
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        first, second, result = (shapes[n] for n in (*node.input[:2], node.output[0]))
        if node.op_type == "Conv":
            total += torch.Size(second).numel() * torch.Size(result[2:]).numel()
        else:
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            total += torch.Size(result).numel() * first[0 if transposed else -1]
    return total
