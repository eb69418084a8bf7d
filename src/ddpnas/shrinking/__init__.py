"""An existing network: which of its channels can be cut, and the smaller network.

In: a network and the shape of its input. :func:`find_groups` traces it and returns the groups of
channels that can only be cut together, with the operation that fixes those that cannot.
:func:`shrinkable` makes a search space of their widths, so that costs can be counted and the best
widths within limits generated. :func:`cut_channels` returns the smaller network;
:func:`order_channels` says which channels go first, :func:`recalibrate` sets BatchNorm afterwards.
:func:`measure_sensitivity` returns what each width costs in loss, :func:`search_masks` an estimate
of that; both are objectives. :func:`score_candidates` scores the best networks within limits as a
whole. :func:`shrink` does all of that and fine-tunes the result, by the plan of a
:class:`ShrinkTask`; :class:`WidthScores` reads its folder for other limits.
"""

from ddpnas.shrinking.candidates import Candidate, score_candidates
from ddpnas.shrinking.controls import magnitude_widths, uniform_widths
from ddpnas.shrinking.cutting import cut_channels
from ddpnas.shrinking.finding import find_groups
from ddpnas.shrinking.groups import Axis, Group, Part
from ddpnas.shrinking.importance import order_channels
from ddpnas.shrinking.pas import MaskSearch, search_masks
from ddpnas.shrinking.plan import ShrinkPlan, ShrinkSettings
from ddpnas.shrinking.recalibration import recalibrate
from ddpnas.shrinking.sensitivity import Sensitivity, measure_sensitivity
from ddpnas.shrinking.shrink import resume_shrink, shrink
from ddpnas.shrinking.shrinkable_space import ShrinkableSpace, shrinkable
from ddpnas.shrinking.shrunk import ShrinkComparison, Shrunk
from ddpnas.shrinking.task import ShrinkTask
from ddpnas.shrinking.width_scores import WidthScores

__all__ = [
    "Axis",
    "Candidate",
    "Group",
    "MaskSearch",
    "Part",
    "Sensitivity",
    "ShrinkComparison",
    "ShrinkPlan",
    "ShrinkSettings",
    "ShrinkTask",
    "ShrinkableSpace",
    "Shrunk",
    "WidthScores",
    "cut_channels",
    "find_groups",
    "magnitude_widths",
    "measure_sensitivity",
    "order_channels",
    "recalibrate",
    "resume_shrink",
    "score_candidates",
    "search_masks",
    "shrink",
    "shrinkable",
    "uniform_widths",
]
