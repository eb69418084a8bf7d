"""What the processes of test_together.py do: run by torchrun, the results go to a JSON file."""

import json
import sys
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import ddpnas
from ddpnas.evaluators import scoring
from ddpnas.training.distributed import join, leave
from ddpnas.training.sync_norm import synchronize_norms

# 31 and 7: uneven parts
CONFIG = {"training": "path", "batch_size": 31, "eval_batch_size": 7, "lr": 0.1}
FAIR = {**CONFIG, "training": "fair", "warmup_epochs": 4}
MIXTURES = {
    "darts": {"epochs": 3, "batch_size": 31, "order": 2, "alpha_lr": 0.05},
    "dropnas": {"epochs": 3, "batch_size": 31, "alpha_lr": 0.05, "drop_rate": 0.1},
    "drnas": {"epochs": 2, "batch_size": 31, "alpha_lr": 0.05},
    "gdas": {"epochs": 3, "batch_size": 31, "alpha_lr": 0.05},
    "pcdarts": {"epochs": 2, "batch_size": 31, "alpha_lr": 0.05, "parts": 2, "warmup": 0.0},
    "pdarts": {"epochs": 6, "batch_size": 31, "alpha_lr": 0.05},
    "proxyless": {"epochs": 2, "batch_size": 31, "warmup": 0.0, "cost": "macs"},
    "snas": {"epochs": 2, "batch_size": 31, "alpha_lr": 0.05},
}
SIEVE = {"sieve": "dynamics", "sieve_options": {"keep": 0.5, "valid_keep": 0.5, "warmup": 0.25}}
OPTIONS = {"cycles_per_stage": 1, "draws": 20}


def several_eval_batches(set_attribute):
    """Let a few images be scored in several batches, so that processes share them."""
    set_attribute(scoring, "LEAST_IMAGES", 7)


def network(choose, channels=4):
    """Ask for two layers of a network with running averages in its BatchNorm."""

    def conv(kernel):
        layer = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        return nn.Sequential(layer, nn.BatchNorm2d(channels), nn.ReLU())

    options = {"conv1": lambda: conv(1), "conv3": lambda: conv(3), "skip": nn.Identity}
    return nn.Sequential(
        nn.Conv2d(1, channels, 3, padding=1),
        choose("a", options),
        choose("b", options),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(channels, 3),
    )


class Gained(nn.BatchNorm2d):
    """A layer that adds something to BatchNorm."""

    def forward(self, x):
        """Return twice the normalized input."""
        return 2 * super().forward(x)


class Functional(nn.Module):
    """A layer that normalizes without a BatchNorm."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("var", torch.ones(3))

    def forward(self, x):
        """Return the normalized input."""
        return functional.batch_norm(x, self.mean, self.var, training=self.training)


def layers():
    """Return a small network with BatchNorm of all kinds, and a batch of 7."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, momentum=None),
        nn.ReLU(),
        nn.SyncBatchNorm(3),
        Gained(3),
        Functional(),
        nn.Flatten(),
        nn.Linear(12, 4),
        nn.BatchNorm1d(4, affine=False),
        nn.Linear(4, 3),
    )
    return model.double(), torch.randn(7, 2, 4, 4).double(), torch.tensor([0, 1, 2, 0, 1, 2, 0])


def step(model, processes, x, y):
    """Return the loss and all gradients of a batch, and what the layers then remember."""
    loss = processes.weighted(functional.cross_entropy(model(x), y), len(y))
    loss.backward()
    loss = processes.average_gradients(model.parameters(), loss.detach(), len(y))
    gradients = [p.grad.flatten().tolist() for p in model.parameters()]
    return [float(loss), gradients, [b.flatten().tolist() for b in model.buffers()]]


def main(folder):
    """Write what was found to a file of each process."""
    processes = join("cpu")
    several_eval_batches(setattr)
    images, labels = torch.load(folder / "stripes.pt", weights_only=True)
    data = ddpnas.make_data((images, labels), name="stripes", flip=True)
    found = {}
    model, x, y = layers()
    synchronize_norms(model, processes)
    mine = slice(processes.rank, None, processes.size)
    found["step"] = step(model, processes, x[mine], y[mine])
    reported = []
    space = ddpnas.SearchSpace(network, (1, 8, 8))
    arguments = {"strategy_options": OPTIONS, "evaluator_options": CONFIG}
    result = ddpnas.search(
        space, data, out=folder / "run", on_progress=reported.append, **arguments
    )
    found["history"], found["text"], found["reports"] = result.history, result.text, len(reported)
    fair = {"strategy_options": OPTIONS, "evaluator_options": FAIR}
    found["fair"] = ddpnas.search(space, data, **fair).history
    found["sieved"] = ddpnas.search(space, data, **fair, **SIEVE).history
    for name, options in MIXTURES.items():
        scored = {"eval_batch_size": 7}
        result = ddpnas.search(
            space, data, name, strategy_options=options, evaluator_options=scored
        )
        found[name] = [result.history, result.text]
    result = ddpnas.search(space, data, out=folder / "begun", resume=True, **arguments)
    found["resumed"] = result.history
    result = ddpnas.search(space, data, out=folder / "begun", resume=True, **arguments)
    found["finished"] = result.text
    for what, call in {
        "in use": lambda: ddpnas.search(space, data, out=folder / "run", **arguments),
        "differs": lambda: processes.check_equal(
            "numbers", "same", [torch.tensor([1.0, 2.0, float(processes.rank)])]
        ),
        "too few": lambda: ddpnas.search(space, data, evaluator_options={"batch_size": 1}),
    }.items():
        try:
            call()
        except ddpnas.errors.DdpnasError as error:
            found[what] = [type(error).__name__, str(error)]
    (folder / f"found-{processes.rank}.json").write_text(json.dumps(found))
    leave()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
