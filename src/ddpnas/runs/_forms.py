"""What the files of a run folder hold, for :func:`ddpnas.utils.read.read_json`."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired, TypedDict

from ddpnas.costs.table import CostTableForm
from ddpnas.generation.forms import CertificateForm, RequestForm
from ddpnas.generation.limits import LimitForm
from ddpnas.space.distribution import DistributionForm
from ddpnas.utils.read import Measured, Whole
from ddpnas.utils.shapes import Range

__all__ = [
    "CheckpointForm",
    "GeneratedForm",
    "LatencyCheckForm",
    "RecordForm",
    "ResultForm",
    "StageForm",
]

_Seconds = Annotated[float, Range(0)]


class RecordForm(TypedDict):
    """A line of ``history.jsonl``. It holds further measurements of the evaluator."""

    evaluation: Whole
    stage: Whole
    architecture: dict[str, str]
    score: Measured
    accuracy: NotRequired[Measured]
    classes: NotRequired[Whole]  # of the accuracy, where these are not all
    same_as: NotRequired[Whole]  # the evaluation that this one repeats
    seconds: _Seconds
    train_seconds: NotRequired[_Seconds]
    valid_seconds: NotRequired[_Seconds]
    proxy_seconds: NotRequired[_Seconds]
    strategy_seconds: NotRequired[_Seconds]
    saving_seconds: NotRequired[_Seconds]


class StageForm(DistributionForm):
    """A line of ``distributions.jsonl``."""

    stage: Whole
    evaluations: Whole


class ResultForm(TypedDict):
    """What ``result.json`` holds."""

    architecture: dict[str, str]
    text: str
    evaluations: Whole
    seconds: _Seconds
    distribution: DistributionForm


class CheckpointForm(TypedDict):
    """The plain data of ``checkpoint.safetensors``."""

    evaluations: Whole
    scores: list[Measured]
    preparing: _Seconds
    strategy: dict[str, Any]
    evaluator: dict[str, Any]


class _CandidateForm(TypedDict):
    architecture: dict[str, str]
    text: str
    costs: dict[str, float]
    margin: dict[str, float]
    log_prob: Measured | None  # None for an option of probability 0
    certificate: CertificateForm
    score: NotRequired[Measured | None]  # None for one that is not finite
    accuracy: NotRequired[Measured | None]


class GeneratedForm(_CandidateForm, RequestForm):
    """What ``generated.json`` holds."""

    limits: dict[str, LimitForm]
    tables: list[CostTableForm]
    top: NotRequired[list[_CandidateForm]]
    changed_by_rescoring: NotRequired[bool]


class LatencyCheckForm(TypedDict):
    """What ``latency_check.json`` holds."""

    architecture: dict[str, str]
    text: str
    predicted_ms: float
    measured_ms: float
    iqr_ms: float
    error_percent: float
    space_options: dict[str, Any]
