"""From a trained network to a file that runs without Python: ONNX, torch.export, int8, timm."""

from ddpnas.export._deployed import Input
from ddpnas.export.file_measurements import Measured, measure_files, verdict
from ddpnas.export.int8 import Quantised, quantise_onnx
from ddpnas.export.onnx import Exported, export_onnx
from ddpnas.export.onnx_runtime import Latency, OnnxFile, raw_inputs
from ddpnas.export.torch_export import export_program

__all__ = [
    "Exported",
    "Input",
    "Latency",
    "Measured",
    "OnnxFile",
    "Quantised",
    "export_onnx",
    "export_program",
    "measure_files",
    "quantise_onnx",
    "raw_inputs",
    "verdict",
]
