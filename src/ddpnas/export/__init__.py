"""From a trained network to a file that runs without Python: ONNX, torch.export, int8, timm."""

from ddpnas.export.deployed import Input
from ddpnas.export.measured import Measured, measure_files, verdict
from ddpnas.export.onnx_file import Exported, export_onnx
from ddpnas.export.program import export_program
from ddpnas.export.quantise import Quantised, quantise_onnx
from ddpnas.export.runtime import Latency, OnnxFile, raw_inputs

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
