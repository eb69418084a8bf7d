"""From a trained network to a file that runs without Python: ONNX, torch.export, int8, timm."""

from ddpnas.export.deployed import Input
from ddpnas.export.onnx_file import Exported, export_onnx
from ddpnas.export.program import export_program
from ddpnas.export.quantise import Quantised, quantise_onnx
from ddpnas.export.runtime import OnnxFile

__all__ = [
    "Exported",
    "Input",
    "OnnxFile",
    "Quantised",
    "export_onnx",
    "export_program",
    "quantise_onnx",
]
