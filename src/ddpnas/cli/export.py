"""``ddpnas export``."""

from __future__ import annotations

import tempfile
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace
from torch import Tensor

from ddpnas.cli import _show as show
from ddpnas.cli._options import Command, add_own_space, new_parser
from ddpnas.data.data import Data
from ddpnas.data.load import load_data
from ddpnas.data.preprocessing import as_image_batch, resized_images
from ddpnas.data.splits import Split
from ddpnas.errors import DataError, OptionError, RunError
from ddpnas.export.file_costs import Sizes
from ddpnas.export.file_measurements import measure_files, verdict
from ddpnas.export.int8 import quantise_onnx
from ddpnas.export.onnx import export_onnx
from ddpnas.export.onnx_runtime import OnnxFile, raw_inputs
from ddpnas.export.timm_strings import timm_code
from ddpnas.export.torch_export import export_program
from ddpnas.space.search_space import SearchSpace
from ddpnas.spaces.registry import create_space, list_spaces
from ddpnas.training.trained_folder import load
from ddpnas.training.trained_model import TrainedModel
from ddpnas.utils.files import writable
from ddpnas.utils.onnx import need_onnx

__all__ = ["COMMANDS"]

_MOST = 500  # images to check or calibrate with


def _export_parser() -> ArgumentParser:
    parser = new_parser("make files to deploy of a trained network, and check them")
    parser.add_argument("folder", help="of a trained network, or of a run with one in trained/")
    parser.add_argument("--onnx", help="file to write for ONNX runtimes")
    parser.add_argument("--torch-export", help="file to write for torch.export.load")
    parser.add_argument("--int8", help="ONNX file to write with 8-bit integers for weights")
    parser.add_argument(
        "--preprocessing",
        action="store_true",
        help="take uint8 images, height and width before channels, and normalise them inside",
    )
    parser.add_argument("--fixed-batch", action="store_true", help="take one image at a time only")
    parser.add_argument("--timm", action="store_true", help="print it as code for timm")
    parser.add_argument("--data", help="images to check and calibrate with; default: its own")
    add_own_space(parser)
    return parser


def export(options: Namespace) -> None:
    """``ddpnas export``."""
    if not (options.onnx or options.torch_export or options.int8 or options.timm):
        raise OptionError("what should be written? --onnx FILE, --torch-export, --int8 or --timm")
    if options.onnx or options.int8:
        need_onnx("onnx", "onnxscript", "onnxruntime")
    model = load(options.folder, space=options.space)
    if options.timm:
        print(timm_code(_timm_space(model), model.architecture))
    if not (options.onnx or options.torch_export or options.int8):
        return
    data, unseen, raw, named = _images(model, options)
    print(f"checked on {named}\n")
    given = {
        "preprocessing": options.preprocessing,
        "dynamic_batch": not options.fixed_batch,
        "images": raw,
    }
    if options.torch_export:
        with writable(Path(options.torch_export)):
            agreement = export_program(model, options.torch_export, **given)
        print(f"{options.torch_export}: torch.export, read back; {agreement.explain()}")
    if not (options.onnx or options.int8):
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = options.onnx or str(Path(scratch) / "float.onnx")
        with writable(Path(path)):
            done = export_onnx(model, path, **given)
        if options.onnx:
            print(f"{path}: {done.takes.layout} -> logits of {len(model.classes)} classes")
            print(f"  in onnxruntime: {done.agreement.explain()}")
            print(f"  {done.counts.explain()}, {_claimed(model, done.counts.network)}")
        if options.int8 and data is not None and unseen is not None:
            _int8(options, path, data, unseen)


def _claimed(model: TrainedModel, found: Sizes) -> str:
    """Return whether the network is as large as its folder says."""
    costs = model.about.get("costs", {})
    wrong = [
        f"{costs[name]:,.0f} {name}"
        for name, value in (("params", found.params), ("macs", found.macs))
        if name in costs and costs[name] != value
    ]
    return f"NOT the {' and '.join(wrong)} that it claims" if wrong else "as its folder claims"


def _timm_space(model: TrainedModel) -> SearchSpace:
    name = str(model.about["space"])
    if name not in list_spaces():
        raise OptionError(f"timm has block strings for published mobile networks, not for {name}")
    return create_space(name, **model.about["space_options"])


def _int8(options: Namespace, path: str, data: Data, unseen: Split) -> None:
    with writable(Path(options.int8)):
        made = quantise_onnx(path, options.int8, raw_inputs(data, data.train, _MOST))
    print(f"{made.path}: int8, calibrated on {made.calibrated_on} training images\n")
    files = [OnnxFile(path), OnnxFile(made.path)]
    before, after = measure_files(files, data, unseen)
    split = "test" if data.test is not None else "validation"
    show.table(
        ["file", "bytes", f"{split} accuracy", "ms an image", "interquartile range"],
        [
            [
                name,
                f"{one.bytes:,}",
                f"{100 * one.accuracy:.2f} %",
                f"{one.latency.median_ms:.3f}",
                f"{one.latency.iqr_ms:.3f}",
            ]
            for name, one in ((options.onnx or "float", before), (options.int8, after))
        ],
        title=f"{len(unseen):,} {split} images; one thread of the processor, one image at a time",
    )
    print(verdict(before, after))


def _images(
    model: TrainedModel, options: Namespace
) -> tuple[Data | None, Split | None, Tensor | None, str]:
    """Return data, its unseen split, inputs of it, and what they are in words."""
    try:
        data = _data(model, options)
    except (DataError, RunError) as error:
        if options.int8 or options.data:
            raise
        reason = f"its own data cannot be read: {error}"
        if not model.mean:
            return None, None, None, f"noise ({reason})"
        embedded = load_data("fashion-mnist-12k")
        channels, height, width = model.input_shape
        images = as_image_batch(raw_inputs(embedded, embedded.valid, _MOST), channels)
        fitted = resized_images(images, (height, width)).contiguous()
        return None, None, fitted, f"{len(fitted)} images of Fashion-MNIST ({reason})"
    unseen = data.valid if data.test is None else data.test
    split = "validation" if data.test is None else "test"
    raw = raw_inputs(data, unseen, _MOST)
    return data, unseen, raw, f"{len(raw)} {split} images of {data.name}"


def _data(model: TrainedModel, options: Namespace) -> Data:
    if options.data is None:
        return model.load_data()
    if (trained_on := model.find_data(options.data)) is not None:
        return trained_on
    size = {"image_size": model.input_shape[-1]} if model.mean else {}
    data = load_data(options.data, **size)
    if data.input_shape != model.input_shape or data.classes != model.classes:
        raise DataError(
            f"{options.data} has classes {', '.join(data.classes)} and inputs of shape "
            f"{data.input_shape}; the network has {', '.join(model.classes)} and "
            f"{model.input_shape}"
        )
    return data


COMMANDS: dict[str, Command] = {
    "export": (_export_parser, export),
}
