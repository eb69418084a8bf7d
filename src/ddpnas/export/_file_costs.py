"""Parameters and multiply-adds of a network, of its graph, and of the file made from it.

A file may hold less than its network, for three reasons, and all are counted here. Parts that do
not reach the output (an auxiliary head, a node that nothing uses) are not in the graph. BatchNorm
after a convolution is folded into it: its scale and shift become a bias. And the exporter drops
biases that are all zero, and stores equal tensors once.
"""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.export.passes import move_to_device_pass
from torch.fx import Node

from ddpnas.costs.network import operation_costs, total_costs
from ddpnas.space.meta import move_to_meta

__all__ = ["Counts", "FileSizes", "Sizes", "count"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sizes:
    """Size of a network.

    Attributes:
        params: Number of parameters.
        macs: Multiply-adds for one input.
    """

    params: int
    macs: int


@dataclass(frozen=True)
class FileSizes:
    """Size of a file.

    Attributes:
        params: Number of parameters; None if the exporter computed constants from some.
        macs: Multiply-adds for one input; None if some operators cannot be counted.
        uncounted: Why a size is None: names of operators, or "constants computed from parameters".
    """

    params: int | None
    macs: int | None
    uncounted: tuple[str, ...] = ()


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
    file: FileSizes

    @property
    def add_up(self) -> bool:
        """Whether the file holds exactly what is neither unreachable nor folded.

        Sizes that could not be counted in the file are not compared.
        """
        left = self.network.params - self.unreachable.params
        left -= self.folded_params + self.implied_params
        macs = self.network.macs - self.unreachable.macs
        return self.file.params in (None, left) and self.file.macs in (None, macs)

    def explain(self) -> str:
        """Return the comparison as a sentence."""
        network, file = self.network, self.file
        counted = [
            f"{value:,} {what}"
            for what, value in (("parameters", file.params), ("MACs", file.macs))
            if value is not None
        ]
        text = f"{', '.join(counted) or 'nothing counted'} in the file"
        if file.uncounted:
            text += f", the rest is not counted ({', '.join(file.uncounted)})"
        if self.unreachable.params or self.unreachable.macs:
            text += (
                f"; {self.unreachable.params:,} and {self.unreachable.macs:,} in parts that do not "
                "reach the output"
            )
        if self.folded_params:
            text += f"; {self.folded_params:,} of BatchNorm folded into convolutions"
        if self.implied_params:
            text += f"; {self.implied_params:,} left out, all zero or equal to others"
        if not counted:
            return f"{text}; the network has {network.params:,} and {network.macs:,}"
        adds_up = "adds up" if self.add_up else "does NOT add up"
        of_network = f"the {network.params:,} and {network.macs:,} of the network"
        if file.macs is None:
            of_network = f"the {network.params:,} parameters of the network"
        elif file.params is None:
            of_network = f"the {network.macs:,} MACs of the network"
        return f"{text}; this {adds_up} to {of_network}"


def count(
    network: nn.Module,
    traced: ExportedProgram,
    translated: ExportedProgram,
    example: Tensor,
    file: Any,
) -> Counts | None:
    """Count network, program and file; None if the network cannot run without values.

    Args:
        network: The network as it is deployed.
        traced: Its graph in torch's operations; it ends up without values and dead code.
        translated: Its functional graph, as it was translated into the file; it ends up without
            dead code.
        example: One input of the graph.
        file: The ``onnx.ModelProto``.
    """
    try:
        moved = move_to_meta(copy.deepcopy(network))
        claimed = Sizes(sum(p.numel() for p in network.parameters()), _macs(moved, example))
        translated.graph.eliminate_dead_code()
        translated.graph_module.recompile()
        folded, in_norms = _folded(translated, file)
        implied = _implied(translated, file, in_norms)
        left = _reached_params(translated)
        stored = _file_sizes(file, network, translated, left - folded - implied)
        # Last, because it takes away the values.
        reached = Sizes(left, _macs(_without_values(traced), example))
    except Exception as error:  # noqa: BLE001 - of whatever the network needs values for
        logger.debug("the exported network cannot be counted: %s", error)
        return None
    unreachable = Sizes(claimed.params - reached.params, claimed.macs - reached.macs)
    return Counts(claimed, unreachable, folded, implied, stored)


def _macs(module: nn.Module, example: Tensor) -> int:
    """Return the multiply-adds of one input of a module on the meta device."""
    macs, _ = total_costs(operation_costs(lambda: module(example.to("meta"))))
    return macs // len(example)


def _without_values(program: ExportedProgram) -> nn.Module:
    """Return a program as a module on the meta device, without the parts that reach no output.

    On the CPU, torch runs an LSTM or an attention as one operation, whose parts are not counted.
    """
    moved = move_to_device_pass(program, "meta")
    moved.graph.eliminate_dead_code(is_impure_node=_has_effect)
    moved.graph_module.recompile()
    return moved.module()


def _has_effect(node: Node) -> bool:
    """Return whether a node does something to others than those that use its result."""
    if not node.is_impure():
        return False
    schema = getattr(node.target, "_schema", None)
    if schema is None or not schema.is_mutable or not isinstance(node.args[0], Node):
        return True
    # As of a ReLU in place. Nothing sees the change if only this node uses what it changes.
    changed = node.args[0]
    made = getattr(changed.target, "_schema", None)
    is_new = made is not None and all(value.alias_info is None for value in made.returns)
    return not is_new or len(changed.users) > 1


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


def _constants(program: ExportedProgram) -> set[str]:
    """Return the names of what the graph computes without its input or any parameter."""
    signature = program.graph_signature
    varying = {*signature.inputs_to_parameters, *signature.user_inputs}
    for node in program.graph.nodes:
        if any(given.name in varying for given in node.all_input_nodes):
            varying.add(node.name)
    names = {node.name for node in program.graph.nodes} - varying
    return names | set(signature.inputs_to_lifted_tensor_constants.values())


def _file_sizes(
    file: Any, network: nn.Module, program: ExportedProgram, expected: int
) -> FileSizes:
    """Return the size of the file.

    Args:
        file: The file.
        network: The network in it.
        program: Its functional graph.
        expected: Number of parameters that the file should have.
    """
    parameters = {name for name, _ in network.named_parameters()}
    others = {name for name, _ in network.named_buffers()} | _constants(program)
    params = _file_params(file, parameters, others)
    macs, uncounted = _file_macs(file)
    # The exporter may have stored a transposed weight, which has as many elements, but also a part
    # of one or the sum of two.
    computed = _float_sizes(file, parameters).keys() - parameters - others
    if params != expected and computed:
        return FileSizes(None, macs, (*uncounted, "constants computed from parameters"))
    return FileSizes(params, macs, uncounted)


def _float_sizes(file: Any, parameters: set[str]) -> dict[str, int]:
    """Return the number of elements of each float constant of the file, by name, except scalars."""
    from onnx import TensorProto

    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    # A PReLU may have one slope, which the exporter gives another name.
    slopes = {node.input[1] for node in file.graph.node if node.op_type == "PRelu"}
    return {
        i.name: torch.Size(i.dims).numel()
        for i in file.graph.initializer
        if i.data_type in floats
        and (torch.Size(i.dims).numel() > 1 or i.name in parameters | slopes)
    }


def _file_params(file: Any, parameters: set[str], others: set[str]) -> int:
    """Return the number of weights in the file: float constants except these and scalars."""
    sizes = _float_sizes(file, parameters)
    # Of the four inputs of a BatchNormalization node, scale and shift are parameters; mean and
    # variance are buffers.
    norms = [list(n.input) for n in file.graph.node if n.op_type == "BatchNormalization"]
    in_norms = {name for inputs in norms for name in inputs[1:]}
    scaling = {name for inputs in norms for name in inputs[1:3]}  # norms may share them
    total = sum(sizes.get(name, 0) for name in scaling)
    return total + sum(n for name, n in sizes.items() if name not in in_norms | others)


# Operators that multiply and whose multiply-adds do not follow from the shapes of two inputs.
_UNCOUNTED = {
    "Attention", "ConvInteger", "DeformConv", "Einsum", "GRU", "If", "LSTM", "Loop",
    "MatMulInteger", "QLinearConv", "QLinearMatMul", "RNN", "Scan",
}  # fmt: skip


def _file_macs(file: Any) -> tuple[int | None, tuple[str, ...]]:
    """Return the multiply-adds of one input, using the shapes that ONNX infers.

    Returns:
        The multiply-adds, None if some operators cannot be counted; and the names of these.
    """
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
    total, uncounted = 0, dict[str, None]()
    for node in graph.node:
        if node.domain or node.op_type in _UNCOUNTED:
            uncounted[node.op_type] = None
        if node.domain or node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            continue
        first, second, result = (
            torch.Size(shapes.get(name, ())) for name in (*node.input[:2], node.output[0])
        )
        if node.op_type == "Conv":
            factors = (second, result[2:])
        elif node.op_type == "ConvTranspose":
            factors = (second, first[2:])
        else:
            transposed = any(a.name == "transA" and a.i for a in node.attribute)
            factors = (result, first[:1] if transposed else first[-1:])
        if any(not factor or 0 in factor for factor in factors):  # 0 stands for an unknown size
            uncounted[f"{node.op_type} of unknown shape"] = None
        else:
            total += math.prod(factor.numel() for factor in factors)
    return (None if uncounted else total), tuple(uncounted)
