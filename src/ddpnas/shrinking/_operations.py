"""What each operation of torch does to labels: which channels meet, and which its result has.

A rule is given the operation's arguments by name and its result. It couples channels that can only
be cut together, and returns the labels of the result. Where a rule cannot follow, it raises
:class:`NotUnderstoodError`; then all channels that reach the operation are fixed. So are those that
reach an operation without a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torch.utils._pytree import tree_leaves

from ddpnas.shrinking._labels import Channels, Factors, Labels, Reason, reshaped

__all__ = ["RULES", "Couplings", "NotUnderstoodError", "pointwise", "taken"]

Arguments = Mapping[str, Any]


class NotUnderstoodError(Exception):
    """An operation cannot be followed."""


class Couplings(Protocol):
    """Where rules note what they find."""

    def labels(self, tensor: Tensor) -> Labels:
        """Return a tensor's labels."""

    def couple(self, some: Channels, others: Channels) -> None:
        """Note that each channel can only be cut together with that in the same place."""

    def fix(self, channels: Channels, reason: Reason) -> None:
        """Note that channels cannot be cut."""

    def fixed(self, count: int, reason: Reason) -> Channels:
        """Return new channels that cannot be cut, for an axis that has none."""

    def mark(self, channels: Channels) -> None:
        """Note that channels are told from others by where they stand."""

    def multiplies(self, out: Channels | None, into: Channels | None, blocks: int) -> None:
        """Note that a layer multiplies: channels that it makes and channels that it uses.

        Args:
            out: Channels that it makes; None if they have no labels.
            into: Channels that it uses.
            blocks: Number of blocks of channels that meet only each other.
        """


Rule = Callable[[Couplings, Arguments, Any], Factors]
RULES: dict[str, Rule] = {}


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def pointwise(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    """Follow an operation on the elements of tensors, which may be broadcast."""
    tensors = [leaf for leaf in tree_leaves(dict(arguments)) if isinstance(leaf, Tensor)]
    return _together(couplings, [couplings.labels(t) for t in tensors], tuple(result.shape))


def _together(couplings: Couplings, operands: Iterable[Labels], shape: tuple[int, ...]) -> Factors:
    """Couple the labels of tensors that are broadcast to a shape; return those of the result."""
    placed = []
    for labels in operands:
        shift = len(shape) - len(labels.shape)
        factors = {tuple(a + shift for a in axes): c for axes, c in labels.factors.items()}
        sizes = (1,) * shift + labels.shape
        placed.append((sizes, factors, labels.reason))
    found: Factors = {}
    plain = set()
    for axes in {axes for _, factors, _ in placed for axes in factors}:
        for sizes, factors, reason in placed:
            if axes in factors:
                if axes in found:
                    couplings.couple(found[axes], factors[axes])
                else:
                    found[axes] = factors[axes]
            elif any(set(axes) & set(other) for other in factors):
                raise NotUnderstoodError
            elif any(sizes[axis] > 1 for axis in axes):
                plain.add(axes)
                for _, others, _ in placed:
                    if axes in others:
                        couplings.fix(others[axes], _plain(reason))
    return {axes: channels for axes, channels in found.items() if axes not in plain}


def _plain(reason: Reason | None) -> Reason:
    return reason or Reason("impossible", "a size that the input or a constant has")


def _keep(couplings: Couplings, arguments: Arguments, result: Any, trailing: int) -> Factors:
    """Return the labels of the first tensor, whose last axes may have none."""
    labels = couplings.labels(_first(arguments))
    if any(axis >= len(labels.shape) - trailing for axis in labels.labeled()):
        raise NotUnderstoodError
    return labels.factors


def _first(arguments: Arguments) -> Tensor:
    tensor = next(v for v in arguments.values() if isinstance(v, Tensor))
    return tensor


@_rule("clone", "detach", "alias", "_to_copy", "lift_fresh", "native_dropout", "dropout",
       "bernoulli", "bernoulli_", "hardswish", "hardswish_", "log_sigmoid_forward", "hardtanh",
       "hardtanh_", "_prelu_kernel", "rrelu_with_noise", "as_strided_",
       "_weight_norm_interface")  # fmt: skip
def _same(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    return pointwise(couplings, arguments, result[0] if isinstance(result, tuple) else result)


@_rule("zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "new_empty",
       "new_zeros", "new_ones", "new_full", "new_empty_strided")  # fmt: skip
def _constant(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels, shape = couplings.labels(arguments["self"]), tuple(result.shape)
    if len(labels.shape) != len(shape):
        return {}
    # Noise of feature dropout has the batch and the channels of its input, and 1 elsewhere.
    alike = [axis for axis, size in enumerate(shape) if size == labels.shape[axis]]
    return {axes: c for axes, c in labels.factors.items() if {*axes} <= {*alike}}


@_rule("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d",
       "upsample_bilinear2d", "upsample_nearest2d", "upsample_bicubic2d", "reflection_pad2d",
       "replication_pad2d", "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
       "_upsample_nearest_exact2d")  # fmt: skip
def _over_images(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    return _keep(couplings, arguments, result, 2)


@_rule("max_pool1d_with_indices", "avg_pool1d", "_adaptive_avg_pool1d", "upsample_linear1d")
def _over_lines(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    return _keep(couplings, arguments, result, 1)


@_rule("max_pool3d_with_indices", "avg_pool3d", "_adaptive_avg_pool3d", "upsample_trilinear3d")
def _over_volumes(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    return _keep(couplings, arguments, result, 3)


@_rule("constant_pad_nd")
def _pad(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    pad = arguments["pad"]
    changed = [k for k in range(0, len(pad), 2) if pad[k] or pad[k + 1]]
    return _keep(couplings, arguments, result, max(changed, default=-2) // 2 + 1)


@_rule("roll", "flip")
def _moved(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["self"])
    axes = {axis % len(labels.shape) for axis in arguments["dims"]}
    if not axes or axes & labels.labeled():
        raise NotUnderstoodError
    return labels.factors


@_rule("_softmax", "_log_softmax")
def _softmax(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["self"])
    if arguments["dim"] % len(labels.shape) in labels.labeled():
        raise NotUnderstoodError
    return labels.factors


@_rule("view", "_unsafe_view", "reshape", "_reshape_alias", "unflatten", "flatten")
def _reshape(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["self"])
    factors, lost = reshaped(labels.factors, labels.shape, tuple(result.shape))
    if lost:
        raise NotUnderstoodError
    return factors


@_rule("permute")
def _permute(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    count = len(arguments["self"].shape)
    return _moved_axes(couplings, arguments["self"], [axis % count for axis in arguments["dims"]])


@_rule("transpose", "transpose_")
def _transpose(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    count = len(arguments["self"].shape)
    order = list(range(count))
    one, other = arguments["dim0"] % count, arguments["dim1"] % count
    order[one], order[other] = other, one
    return _moved_axes(couplings, arguments["self"], order)


@_rule("t", "numpy_T")
def _turned(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    order = list(range(len(arguments["self"].shape)))[::-1]
    return _moved_axes(couplings, arguments["self"], order)


def _moved_axes(couplings: Couplings, tensor: Tensor, order: Sequence[int]) -> Factors:
    """Return the labels after axis ``order[k]`` became axis k."""
    found = {}
    for axes, channels in couplings.labels(tensor).factors.items():
        new = [order.index(axis) for axis in axes]
        found[tuple(sorted(new))] = channels.transpose(np.argsort(new))
    return found


def _renumbered(factors: Factors, removed: Sequence[int]) -> Factors:
    """Return labels of a tensor that lost some axes; they had none."""
    if any(set(axes) & set(removed) for axes in factors):
        raise NotUnderstoodError
    return {
        tuple(axis - sum(r < axis for r in removed) for axis in axes): channels
        for axes, channels in factors.items()
    }


@_rule("unsqueeze", "unsqueeze_")
def _unsqueeze(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    place = arguments["dim"] % len(result.shape)
    factors = couplings.labels(arguments["self"]).factors
    return {tuple(a + (a >= place) for a in axes): c for axes, c in factors.items()}


@_rule("squeeze", "squeeze_")
def _squeeze(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["self"])
    given = arguments.get("dim")
    asked = range(len(labels.shape)) if given is None else np.atleast_1d(given).tolist()
    asked = {axis % len(labels.shape) for axis in asked}
    return _renumbered(labels.factors, [axis for axis in asked if labels.shape[axis] == 1])


@_rule("expand")
def _expand(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    return _together(couplings, [couplings.labels(arguments["self"])], tuple(result.shape))


@_rule("repeat")
def _repeat(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels, times = couplings.labels(arguments["self"]), arguments["repeats"]
    shift = len(times) - len(labels.shape)
    return {
        tuple(a + shift for a in axes): np.tile(channels, [times[a + shift] for a in axes])
        for axes, channels in labels.factors.items()
    }


@_rule("select")
def _select(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["self"])
    return _renumbered(labels.factors, [arguments["dim"] % len(labels.shape)])


@_rule("slice")
def _slice(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["self"])
    axis = arguments.get("dim", 0) % len(labels.shape)
    part = slice(arguments.get("start"), arguments.get("end"), arguments.get("step", 1))
    return taken(couplings, labels, axis, part)


def taken(couplings: Couplings, labels: Labels, axis: int, part: slice) -> Factors:
    """Return the labels of a part of a tensor along an axis."""
    found = dict(labels.factors)
    for axes, channels in labels.factors.items():
        if axis in axes:
            if len(axes) > 1:
                raise NotUnderstoodError
            found[axes] = channels[part]
            couplings.mark(found[axes])
            if len(found[axes]) < 2:
                del found[axes]
    return found


@_rule("cat", "concat")
def _cat(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    listed = [couplings.labels(t) for t in arguments["tensors"] if tuple(t.shape) != (0,)]
    axis = arguments.get("dim", 0) % len(result.shape)
    if any(axis in axes and len(axes) > 1 for labels in listed for axes in labels.factors):
        raise NotUnderstoodError
    others = []
    for labels in listed:
        factors = {axes: c for axes, c in labels.factors.items() if axis not in axes}
        shape = tuple(1 if k == axis else size for k, size in enumerate(labels.shape))
        others.append(Labels(shape, factors, labels.reason))
    found = _together(couplings, others, tuple(result.shape))
    if any((axis,) in labels.factors for labels in listed):
        parts = [labels.along(axis) for labels in listed]
        found[axis,] = np.concatenate(
            [
                couplings.fixed(labels.shape[axis], _plain(labels.reason)) if part is None else part
                for part, labels in zip(parts, listed, strict=True)
            ]
        )
    return found


@_rule("stack")
def _stack(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    listed = [couplings.labels(t) for t in arguments["tensors"]]
    place = arguments.get("dim", 0) % len(result.shape)
    found = _together(couplings, listed, listed[0].shape)
    return {tuple(a + (a >= place) for a in axes): c for axes, c in found.items()}


@_rule("mean", "sum", "amax", "amin", "var", "std", "var_mean", "std_mean", "max", "min",
       "linalg_vector_norm", "norm", "logsumexp", "argmax")  # fmt: skip
def _reduce(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["self"])
    given = arguments.get("dim")
    count = len(labels.shape)
    axes = range(count) if given is None or given == [] else np.atleast_1d(given).tolist()
    reduced = {axis % count for axis in axes}
    found = {}
    for where, channels in labels.factors.items():
        if set(where) & reduced:
            if len(where) > 1:
                raise NotUnderstoodError
        else:
            found[where] = channels
    first = result[0] if isinstance(result, tuple) else result
    return found if len(first.shape) == count else _renumbered(found, sorted(reduced))


@_rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
       "_batch_norm_with_update", "_batch_norm_no_update", "cudnn_batch_norm")  # fmt: skip
def _batch_norm(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["input"])
    own = ("weight", "bias", "running_mean", "running_var")
    _match(couplings, labels, 1, [arguments.get(name) for name in own])
    return labels.factors


@_rule("native_layer_norm", "_fused_rms_norm", "rms_norm")
def _layer_norm(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["input"])
    tensors = [arguments.get("weight"), arguments.get("bias")]
    if len(arguments["normalized_shape"]) > 1:
        raise NotUnderstoodError
    _match(couplings, labels, len(labels.shape) - 1, tensors)
    return labels.factors


@_rule("native_group_norm")
def _group_norm(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["input"])
    _match(couplings, labels, 1, [arguments.get("weight"), arguments.get("bias")])
    channels = labels.along(1)
    if channels is not None and arguments["group"] > 1:
        _unite(couplings, channels.reshape(arguments["group"], -1))
    return labels.factors


def _match(
    couplings: Couplings, labels: Labels, axis: int, tensors: Sequence[Tensor | None]
) -> None:
    """Couple the channels along an axis with those of tensors that have it alone."""
    for tensor in tensors:
        if tensor is not None:
            own = couplings.labels(tensor)
            _meet(couplings, labels.along(axis), labels.reason, own.along(0), own.reason)


def _meet(
    couplings: Couplings,
    some: Channels | None,
    some_reason: Reason | None,
    others: Channels | None,
    others_reason: Reason | None,
) -> None:
    if some is not None and others is not None:
        couplings.couple(some, others)
    elif some is not None:
        couplings.fix(some, _plain(others_reason))
    elif others is not None:
        couplings.fix(others, _plain(some_reason))


def _unite(couplings: Couplings, blocks: Channels) -> None:
    """Couple all channels of each row."""
    couplings.couple(np.broadcast_to(blocks[:, :1], blocks.shape), blocks)


@_rule("convolution", "convolution_overrideable", "mkldnn_convolution", "cudnn_convolution")
def _convolution(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels, weight = couplings.labels(arguments["input"]), couplings.labels(arguments["weight"])
    groups = arguments["groups"]
    if labels.labeled() - {1} or any(weight.joint()):
        raise NotUnderstoodError
    into, out = labels.along(1), weight.along(0)
    if arguments["transposed"]:
        if groups > 1:
            raise NotUnderstoodError
        into_weight, out = weight.along(0), weight.along(1)
    else:
        into_weight = weight.along(1)
    if groups == 1:
        if labels.shape[1] > 1:
            _meet(couplings, into, labels.reason, into_weight, weight.reason)
    elif into is None or out is None:
        for channels, reason in ((into, weight.reason), (out, labels.reason)):
            if channels is not None:
                couplings.fix(channels, _plain(reason))
    else:
        # A block goes or stays as a whole, with all that it uses and makes.
        rows = [into.reshape(groups, -1), out.reshape(groups, -1)]
        _unite(couplings, np.concatenate(rows, axis=1))
    bias = arguments.get("bias")
    if bias is not None and out is not None:
        own = couplings.labels(bias)
        _meet(couplings, out, None, own.along(0), own.reason)
    couplings.multiplies(out, into, groups)
    return {} if out is None else {(1,): out}


@_rule("mm", "bmm", "addmm", "baddbmm")
def _matmul(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    given = [v for v in arguments.values() if isinstance(v, Tensor)]
    left, right = (couplings.labels(tensor) for tensor in given[-2:])
    if any(left.joint()) or any(right.joint()):
        raise NotUnderstoodError
    rows, columns = left.along(-2), right.along(-1)
    into = left.along(-1)
    if left.shape[-1] > 1:
        _meet(couplings, into, left.reason, right.along(-2), right.reason)
    if columns is not None and right.of_weights:
        couplings.multiplies(columns, into, 1)
    elif rows is not None and left.of_weights:
        couplings.multiplies(rows, right.along(-2), 1)
    last = len(result.shape) - 1
    found: Factors = {}
    if rows is not None:
        found[last - 1,] = rows
    if columns is not None:
        found[last,] = columns
    if last == 2:
        batch = [Labels((n.shape[0], 1, 1), _only(n, 0), n.reason) for n in (left, right)]
        found |= _together(couplings, batch, tuple(result.shape))
    if len(given) == 3:
        so_far = Labels(tuple(result.shape), found)
        found = _together(couplings, [so_far, couplings.labels(given[0])], tuple(result.shape))
    return found


def _only(labels: Labels, axis: int) -> Factors:
    channels = labels.along(axis)
    return {} if channels is None else {(axis,): channels}


@_rule("embedding")
def _embedding(couplings: Couplings, arguments: Arguments, result: Any) -> Factors:
    labels = couplings.labels(arguments["weight"])
    if (rows := labels.along(0)) is not None:
        couplings.fix(rows, Reason("impossible", "the entries of an embedding"))
    columns = labels.along(1)
    return {} if columns is None else {(len(result.shape) - 1,): columns}
