"""Every public function takes whatever Python can give it: it works, or says what belongs there."""

import inspect

import numpy as np
import pytest
import torch
from torch import nn

import ddpnas
from ddpnas.errors import DdpnasError, OptionError

SPACE = ddpnas.create_space("toy", input_shape=(1, 8, 8), num_classes=2)
COSTS = ddpnas.count_costs(SPACE)
UNIFORM = ddpnas.JointDistribution.uniform(SPACE.decisions)
NETWORK = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
LIMITS = {"macs": "1M"}
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
TRAINS = ("compare", "evaluate", "export_onnx", "fit", "search", "shrink", "train")


def calls(name):
    """Yield arguments in order and by name, one of them wrong."""
    right = RIGHT.get(name, (None,))
    for place in range(len(right)):
        for wrong in WRONG:
            if name != "measure_latency" or wrong is not SPACE:  # measures for a while
                yield (*right[:place], wrong, *right[place + 1 :]), {}
    parameters = list(inspect.signature(getattr(ddpnas, name)).parameters.values())
    for parameter in parameters[len(right) :]:
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            yield from ((right, {parameter.name: wrong}) for wrong in WRONG)


@pytest.mark.parametrize("name", RIGHT)
def test_a_wrong_argument_is_one_sentence(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for args, options in calls(name):
        try:
            getattr(ddpnas, name)(*args, **options)
        except DdpnasError as error:
            assert "\n" not in str(error)
        except TypeError:
            # What a user's function raises is not hidden.
            assert any(isinstance(value, nn.Module) for value in options.values())


@pytest.mark.parametrize("name", TRAINS)
def test_what_trains_refuses_wrong_arguments_before(name):
    for wrong in (None, 42, "x", [], object()):
        with pytest.raises(DdpnasError):
            getattr(ddpnas, name)(*[wrong] * (2 if name == "export_onnx" else 3))


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
    data = ddpnas.make_data((torch.zeros(24, 1, 8, 8, dtype=torch.uint8), torch.arange(24) % 2))
    for wrong, says in ((lambda *a, **k: None, "returned None"), (lambda: None, "cannot be made")):
        with pytest.raises(OptionError, match=f"{kind} .*{says}"):
            ddpnas.search(SPACE, data, **{"strategy": "random", kind: wrong})
