"""Training steps of NNI 3.0's one-shot strategies on its NAS-Bench-201 space; see against_nni.py.

Needs only nni, torch and Lightning, in an environment of their own. Reads a line of JSON, a list
of cells; does a step on each, and answers with a line of JSON: seconds of each step, memory.
Strategies that train a mixture do a step for each cell and ignore it.
"""

import argparse
import json
import logging
import resource
import sys
import time
import warnings

warnings.simplefilter("ignore")
logging.disable(logging.INFO)

import nni  # noqa: E402
import torch  # noqa: E402
from nni.nas.hub.pytorch import NasBench201  # noqa: E402
from nni.nas.oneshot.pytorch.supermodule.base import BaseSuperNetModule  # noqa: E402
from nni.nas.strategy import DARTS, GumbelDARTS, Proxyless, RandomOneShot  # noqa: E402

STRATEGIES = {
    "random": RandomOneShot, "darts": DARTS, "gumbel": GumbelDARTS, "proxyless": Proxyless,
}  # fmt: skip


def memory_mb() -> float:
    """Return the largest memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Answer requests until standard input ends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--method", choices=list(STRATEGIES))
    parser.add_argument("--channels", type=int)
    parser.add_argument("--cells", type=int)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--channels-last", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    strategy = STRATEGIES[options.method]()
    model = strategy.mutate_model(NasBench201(options.channels, options.cells, 10))
    inputs = torch.randn(options.batch, 3, 32, 32)
    if options.channels_last:
        model = model.to(memory_format=torch.channels_last)
        inputs = inputs.contiguous(memory_format=torch.channels_last)
    labels = torch.arange(options.batch) % 10
    modules = [m for m in model.modules() if isinstance(m, BaseSuperNetModule)]
    # As DartsLightningModule: the logits of all places that share a decision, once.
    logits = list({p for m in modules for p in getattr(m, "arch_parameters", list)()})
    own = set(logits)
    weights = [p for p in model.parameters() if p not in own]
    optimizer = torch.optim.SGD(weights, lr=1e-3, momentum=0.9, weight_decay=3e-4)
    adam = torch.optim.Adam(logits, 3e-4, betas=(0.5, 0.999), weight_decay=1e-3) if logits else None
    model.train()

    def loss_of(cell: dict[str, str]) -> torch.Tensor:
        sample = dict(cell)  # what is sampled already is kept: all are compared on the same cells
        for module in modules:  # as their Lightning module's resample
            sample.update(module.resample(memo=sample))
        return torch.nn.functional.cross_entropy(model(inputs), labels)

    def step(cell: dict[str, str]) -> None:
        if adam is not None:
            adam.zero_grad()
            loss_of({}).backward()  # type: ignore[no-untyped-call]
            adam.step()
        loss = loss_of(cell if adam is None else {})
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 5.0)
        optimizer.step()

    versions = {"nni": nni.__version__, "torch": torch.__version__}
    print(json.dumps({"versions": versions, "ready_mb": memory_mb()}), flush=True)
    for line in sys.stdin:
        seconds = []
        for cell in json.loads(line):
            started = time.perf_counter()
            step({f"cell/{edge}": operation for edge, operation in cell.items()})
            seconds.append(time.perf_counter() - started)
        print(json.dumps({"seconds": seconds, "peak_mb": memory_mb()}), flush=True)


if __name__ == "__main__":
    main()
