"""From a trained network to a file that runs without this package: ONNX, torch.export, int8, timm.

A trained network, or any module in a :class:`Deployable`, goes into ``export_onnx`` or
``export_torch``. The file is checked against the network before it is written, and comes back as
:class:`Exported`. ``quantize_onnx`` makes an int8 file from a float one, and ``measure_files``
compares the two. ``timm_code`` prints mobile networks as code for timm.
"""

from ddpnas.export.deployable import Deployable, Input
from ddpnas.export.exported import Agreement, Exported
from ddpnas.export.file_measurements import (
    FileMeasurement,
    measure_files,
    measure_latencies,
    summarize_int8,
)
from ddpnas.export.int8 import quantize_onnx
from ddpnas.export.onnx import export_onnx
from ddpnas.export.onnx_runtime import OnnxFile, raw_inputs
from ddpnas.export.timm_strings import timm_arch_def, timm_code
from ddpnas.export.torch_export import export_torch

__all__ = [
    "Agreement",
    "Deployable",
    "Exported",
    "FileMeasurement",
    "Input",
    "OnnxFile",
    "export_onnx",
    "export_torch",
    "measure_files",
    "measure_latencies",
    "quantize_onnx",
    "raw_inputs",
    "summarize_int8",
    "timm_arch_def",
    "timm_code",
]
