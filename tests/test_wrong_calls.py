"""Every public function takes whatever Python can give it: it works, or says what belongs there."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import DdpnasError, OptionError
from ddpnas.training.trained_model import TrainedModel

SPACE = ddpnas.create_space("toy", input_shape=(1, 8, 8), num_classes=2)
COSTS = ddpnas.count_costs(SPACE)
UNIFORM = ddpnas.JointDistribution.uniform(SPACE.decisions)
NETWORK = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
LIMITS = {"macs": "1M"}
DATA = ddpnas.make_data((torch.zeros(24, 1, 8, 8, dtype=torch.uint8), torch.arange(24) % 2))
TRAINED = TrainedModel(NETWORK, ddpnas.Architecture({}), "", (1, 8, 8), ("no", "yes"))
WRONG = (
    None, 42, -1, 1.5, float("nan"), "", "\0", "x" * 5000, b"x", [], [1, "a"], {}, {"a": 1},
    {"macs": None}, {1: 2}, {"macs": [1, 2, 3]}, (), range(3), 2**70, object(), torch.zeros(3),
    np.zeros((2, 2)), NETWORK, SPACE, UNIFORM, type, "\ud800",
)  # fmt: skip
# Arguments that are right; one after another is replaced by a wrong one.
RIGHT = {
    "count_costs": (SPACE,),
    "count_network": (NETWORK, (1, 8, 8)),
    "create_space": ("toy",),
    "create_strategy": ("random", SPACE, 0),
    "frontier": (UNIFORM, SPACE, ["macs"], LIMITS, COSTS),
    "generate": (UNIFORM, SPACE, LIMITS, COSTS),
    "load": ("none",),
    "load_data": ("none",),
    "measure_latency": (None,),
    "open_network": ("timm:none",),
    "replaceable": (NETWORK, {}),
    "rescore": ("none", []),
    "resume": ("none",),
    "shrinkable": (NETWORK, (1, 8, 8)),
    "top_k": (UNIFORM, SPACE, 2, LIMITS, COSTS),
    "write_report": ("none",),
}  # fmt: skip
# The same for functions that train, or write a file.
TRAINS = {
    "compare": (SPACE, SPACE.decode([0] * len(SPACE.decisions)), DATA),
    "evaluate": (TRAINED, DATA, "valid"),
    "export_onnx": (TRAINED, "net.onnx"),
    "fit": (DATA, LIMITS, 10.0),
    "search": (SPACE, DATA, "random"),
    "shrink": (NETWORK, DATA, LIMITS),
    "train": (NETWORK, DATA, "quick"),
}
# Which of the wrong ones are right in their place.
WORKS = {
    ("create_strategy", "seed"): {"42"},
    ("evaluate", "data"): {"None"},
    ("evaluate", "split"): {"None"},
    ("export_onnx", "path"): {"'x'"},
    ("fit", "limits"): {"None"},
    ("fit", "minutes"): {"42"},
    ("frontier", "cost"): {"[]", "()"},
    ("replaceable", "alternatives"): {"{}"},
    ("top_k", "k"): {"42"},
    **{
        (name, parameter): works
        for name in ("frontier", "generate", "top_k")
        for parameter, works in {
            "limits": {"None", "{}"},
            "margin": {"None"},
            "objective": {"{}"},
            "rules": {"[]", "()"},
        }.items()
    },
}


def parameters_of(name):
    found = inspect.signature(getattr(ddpnas, name)).parameters.values()
    several = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [parameter.name for parameter in found if parameter.kind not in several]


def calls(name, right, wrongs):
    """Yield (parameter, wrong value, arguments in order, arguments by name), one of them wrong."""
    for place, parameter in enumerate(parameters_of(name)):
        for wrong in wrongs:
            if place >= len(right):
                yield parameter, wrong, right, {parameter: wrong}
            elif wrong is not right[place]:
                yield parameter, wrong, (*right[:place], wrong, *right[place + 1 :]), {}


@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_argument_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    worked = {}
    for parameter, wrong, args, options in calls(name, RIGHT[name], WRONG):
        if name == "measure_latency" and wrong is SPACE:  # measures for a while
            continue
        try:
            getattr(ddpnas, name)(*args, **options)
        except DdpnasError as error:
            assert "\n" not in str(error)
        else:
            worked.setdefault((name, parameter), set()).add(repr(wrong))
    assert worked == {key: works for key, works in WORKS.items() if key[0] == name}


@pytest.mark.parametrize("name", TRAINS)
def test_what_trains_refuses_wrong_arguments_before(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for parameter, wrong, args, options in calls(name, TRAINS[name], (None, 42, "x", [], object())):
        if not options and repr(wrong) not in WORKS.get((name, parameter), ()):
            with pytest.raises(DdpnasError):
                getattr(ddpnas, name)(*args)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    "made",
    [
        lambda wrong: ddpnas.Architecture(wrong),
        lambda wrong: ddpnas.CostTable(wrong, "", 0, {}),
        lambda wrong: ddpnas.CostTable("macs", "", 0, wrong),
        lambda wrong: ddpnas.JointDistribution(wrong, (), ()),
        lambda wrong: ddpnas.Rule(wrong, "rule"),
        lambda wrong: ddpnas.Rule({("a", "b"): wrong}, "rule"),
        lambda wrong: ddpnas.SearchSpace(wrong),
    ],
)
def test_what_is_made_of_wrong_values_is_refused(made):
    for wrong in (None, "a b", object(), {1: [2]}, [3]):
        with pytest.raises(DdpnasError):
            made(wrong)


@pytest.mark.parametrize("kind", ["strategy", "evaluator"])
def test_a_factory_of_something_else_is_named(kind):
    for wrong, says in ((lambda *a, **k: None, "returned None"), (lambda: None, "cannot be made")):
        with pytest.raises(OptionError, match=f"{kind} .*{says}"):
            ddpnas.search(SPACE, DATA, **{"strategy": "random", kind: wrong})
