"""The exact solver under generation: layered diagrams with bounds and dominance, and HiGHS.

``Problem`` is what the rooms below use; ``diagram``, ``labels`` and ``paths`` are the fast way,
``programme`` the 0-1 programme that takes what they do not.
"""

from ddpnas.generation._problem import Problem

__all__ = ["Problem"]
