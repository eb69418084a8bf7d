"""Recorder: records and replays steps on the CPU, in the place of a CUDA graph."""

import torch

from ddpnas.training.cuda_graphs import Captures


class Recorder:
    """A graph of the CPU: a capture runs nothing, a replay fills the result it promised."""

    @classmethod
    def captures(cls):
        """Return captures made of recorders, and the list of them, which grows."""
        made = []

        def make():
            made.append(cls())
            return made[-1]

        return Captures(make), made

    def __init__(self):
        self.captures = self.replays = self.eagers = 0

    def eager(self, call):
        self.eagers += 1
        return call()

    def capture(self, call):
        self.captures += 1
        self._call, self._result = call, torch.full((), float("nan"))
        return self._result

    def replay(self):
        self.replays += 1
        self._result.copy_(self._call())
