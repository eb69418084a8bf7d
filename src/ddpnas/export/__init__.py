"""From a trained network to a file that runs without Python: ONNX, torch.export, int8, timm."""

from ddpnas.export.onnx_file import Exported, export_onnx
from ddpnas.export.program import export_program

__all__ = ["Exported", "export_onnx", "export_program"]
