"""``ddpnas export``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_own_network, add_own_space, new_parser
from ddpnas.cli._trained_network import load_network, training_data
from ddpnas.data.data import Data
from ddpnas.data.load import load_data
from ddpnas.data.splits import Split
from ddpnas.errors import DataError, OptionError, RunError
from ddpnas.export.deployable import Deployable
from ddpnas.export.file_measurements import measure_files, summarize_int8
from ddpnas.export.int8 import quantize_onnx
from ddpnas.export.onnx import export_onnx
from ddpnas.export.onnx_runtime import OnnxFile, raw_inputs
from ddpnas.export.timm_strings import timm_code
from ddpnas.export.torch_export import export_torch
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.registry import create_space, list_spaces
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import writable
from ddpnas.utils.onnx import need_onnx

__all__ = ["COMMANDS"]

_MAX_IMAGES = 500  # to check or calibrate with
_SPLITS = {"test": "test", "valid": "validation"}


def _export_parser() -> ArgumentParser:
    parser = new_parser(
        "write a trained network as an ONNX or torch file. ddpnas checks it against the network.",
        "ddpnas export runs/photos --onnx net.onnx --preprocessing",
    )
    parser.add_argument("folder", help="folder of a run, or of a trained network")
    parser.add_argument("--onnx", help="ONNX file to write, for onnxruntime and other runtimes")
    parser.add_argument("--torch-export", help="torch.export file to write, for torch.export.load")
    parser.add_argument("--int8", help="ONNX file to write with 8-bit weights and activations")
    parser.add_argument(
        "--preprocessing",
        action="store_true",
        help="normalize inside the file, which then takes uint8 images (height, width, channels)",
    )
    parser.add_argument(
        "--fixed-batch", action="store_true", help="accept exactly one image at a time"
    )
    parser.add_argument(
        "--timm", action="store_true", help="print code that builds the network with timm"
    )
    parser.add_argument(
        "--data", help="images to check and calibrate with; default: the data of the training"
    )
    add_own_space(parser)
    add_own_network(parser)
    return parser


def export(options: Namespace) -> None:
    """``ddpnas export``."""
    if not (options.onnx or options.torch_export or options.int8 or options.timm):
        raise OptionError(
            "nothing to export: give --onnx FILE, --torch-export FILE, --int8 FILE or --timm"
        )
    if options.onnx or options.int8:
        need_onnx("onnx", "onnxscript", "onnxruntime")
    files = [Path(one) for one in (options.onnx, options.torch_export, options.int8) if one]
    if len({file.resolve() for file in files}) < len(files):
        raise OptionError(
            "two options name the same file; give --onnx, --torch-export and --int8 different ones"
        )
    model = load_network(options)
    if options.timm:
        show.line(timm_code(_timm_space(model), model.architecture))
    if not (options.onnx or options.torch_export or options.int8):
        return
    data, unseen, raw, named = _images(model, options)
    show.line(f"checked on {named}\n")
    dtype = None if model.mean or raw is None else raw.dtype
    deployable = Deployable.of(model, preprocessing=options.preprocessing, dtype=dtype)
    dynamic = not options.fixed_batch
    if options.torch_export:
        with writable(Path(options.torch_export)):
            done = export_torch(deployable, options.torch_export, dynamic_batch=dynamic, images=raw)
        show.line(f"{done.path}: torch.export file")
        show.line(f"  read back: {done.agreement.explain()}")
    if not (options.onnx or options.int8):
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = options.onnx or str(Path(scratch) / "float.onnx")
        with writable(Path(path)):
            done = export_onnx(deployable, path, dynamic_batch=dynamic, images=raw)
        if options.onnx:
            show.line(f"{path}: {done.takes.layout} -> logits for {len(model.classes)} classes")
            show.line(f"  in onnxruntime: {done.agreement.explain()}")
            if done.counts is None:
                show.line("  parameters and MACs cannot be counted")
            else:
                network = done.counts.network
                claims = _check_claims(model, network.params, network.macs)
                show.line(f"  {done.counts.explain()}, {claims}")
        if options.int8 and data is not None and unseen is not None:
            _int8(options, path, data, unseen)


def _check_claims(model: TrainedModel, params: int, macs: int) -> str:
    """Return in words whether the network has the size that its folder states."""
    costs = model.about.get("costs", {})
    wrong = [
        f"{costs[name]:,.0f} {name}"
        for name, value in (("params", params), ("macs", macs))
        if name in costs and costs[name] != value
    ]
    return (
        f"NOT the {' and '.join(wrong)} that its folder states" if wrong else "as its folder states"
    )


def _timm_space(model: TrainedModel) -> SearchSpace:
    name = str(model.about["space"] or model.about["network"])
    if name not in list_spaces():
        raise OptionError(
            f"timm has block strings for mobile networks only, not for space {name!r}"
        )
    return create_space(name, **model.about["space_options"])


def _int8(options: Namespace, path: str, data: Data, unseen: Split) -> None:
    with writable(Path(options.int8)):
        made = quantize_onnx(path, options.int8, raw_inputs(data, data.train, _MAX_IMAGES))
    show.line(f"{made.path}: int8, calibrated on {made.agreement.inputs} training images")
    show.line(f"  on these, against the float file: {made.agreement.explain()}\n")
    files = [OnnxFile(path), OnnxFile(made.path)]
    before, after = measure_files(files, data, unseen)
    split = _SPLITS[data.held_out]
    show.table(
        [
            "file",
            "size (bytes)",
            f"{split} accuracy (%)",
            "latency (ms)",
            "interquartile range (ms)",
        ],
        [
            [
                name,
                f"{one.bytes:,}",
                f"{100 * one.accuracy:.2f}",
                f"{one.latency_ms:.3f}",
                f"{one.latency_iqr_ms:.3f}",
            ]
            for name, one in ((options.onnx or "float", before), (options.int8, after))
        ],
        title=f"{len(unseen):,} {split} images; latency of one image on one CPU thread",
    )
    show.line(summarize_int8(before, after))


def _images(
    model: TrainedModel, options: Namespace
) -> tuple[Data | None, Split | None, Tensor | None, str]:
    """Return data, its unseen split, inputs to check with, and a description of these."""
    try:
        data = _data(model, options)
    except (DataError, RunError) as error:
        if options.int8 or options.data:
            raise
        reason = f"the training data cannot be read: {error}"
        if not model.mean:
            return None, None, None, f"noise ({reason})"
        embedded = load_data("fashion-mnist-12k")
        fitted = model.preprocessing.fit(raw_inputs(embedded, embedded.valid, _MAX_IMAGES))
        return None, None, fitted, f"{len(fitted)} images of Fashion-MNIST ({reason})"
    unseen = data.splits[data.held_out]
    split = _SPLITS[data.held_out]
    raw = raw_inputs(data, unseen, _MAX_IMAGES)
    return data, unseen, raw, f"{len(raw)} {split} images of {data.name}"


def _data(model: TrainedModel, options: Namespace) -> Data:
    if options.data is None:
        return training_data(model)
    if (trained_on := model.find_data(options.data)) is not None:
        return trained_on
    model.preprocessing.require_images()
    data = load_data(options.data, image_size=model.input_shape[-1])
    if data.input_shape != model.input_shape or data.classes != model.classes:
        raise DataError(
            f"{options.data} has inputs of shape {data.input_shape} and the classes "
            f"{', '.join(data.classes)}; the network takes {model.input_shape} and knows "
            f"{', '.join(model.classes)}"
        )
    return data


COMMANDS: dict[str, Command] = {
    "export": (_export_parser, export),
}
