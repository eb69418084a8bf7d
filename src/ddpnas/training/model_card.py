"""The model card: the first page to read in the folder of a trained network."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ddpnas.generation.limits import Limit, amount
from ddpnas.space.user_code import names_file
from ddpnas.utils.text import code_span, markdown

__all__ = ["model_card"]

_SPLITS = {
    "test": "were not trained on: the test images,\nread once, at the end",
    "valid": (
        "were not trained on: the validation images\n"
        "(`valid`), which chose the network or its best epoch, too"
    ),
    "train": "were trained on: the fit was not finished",
}


def model_card(name: str, about: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Return the card as Markdown, with the front matter that model hubs read.

    Args:
        name: Name of the folder.
        about: Content of ``architecture.json``.
        result: Content of ``result.json``.
    """
    first = result["networks"][0]
    provenance = about["provenance"]
    data, versions = provenance["data"], provenance["versions"]
    front = yaml.safe_dump(_front(name, about, first), sort_keys=False, allow_unicode=True)
    return f"""---
{front}---

# {markdown(name)}

A classifier of {len(about["classes"])} classes: {_kind(about)}, trained with
[ddpnas](https://arxiv.org/abs/1905.13543) {versions["ddpnas"]}.

{_table([["network", *about["costs"], f"{first['split']} accuracy"], *_rows(about, result)])}

Accuracy is the fraction right on images that {_SPLITS[first["split"]]}.
Multiply-adds (MACs) are those of one image.

## Use

```python
import ddpnas

model = ddpnas.load({_quoted(name)}{_load_argument(name, about)})
probabilities = model.predict(["image.png"])  # (1, {len(about["classes"])})
print(model.classes[int(probabilities[0].argmax())])
```

`model.network` is a plain PyTorch module in evaluation mode; `model.preprocess` makes its inputs.

- input: {_input(about)}
- classes: {_listed(about["classes"])}

{_architecture(about)}{_limits(about)}## Training

- data: {markdown(data["name"])}, {_sizes(data["sizes"])}; fingerprint `{data["fingerprint"]}`
{_learned_from(provenance, first)}- recipe: {_listed(_pairs(first["recipe"]))}
- epochs: {len(first["history"])}, precision: {_precision(first)}
- seed: {provenance["seed"]}
- versions: {_listed([f"{k} {v}" for k, v in versions.items()])}

The accuracy holds for images like those of the data above. What the data leaves out, the network
has not seen.
"""


def _pairs(settings: Mapping[str, Any]) -> list[str]:
    return [f"{name}={value}" for name, value in settings.items()]


def _precision(first: Mapping[str, Any]) -> str:
    mixed = first.get("mixed_precision", "no")
    return "float32" if mixed == "no" else f"mixed, {code_span(mixed)}"


def _learned_from(provenance: Mapping[str, Any], first: Mapping[str, Any]) -> str:
    """Return what the network learned from apart from the data."""
    lines, start = [], provenance.get("start")
    if start is not None:
        weights = f" with the weights in {code_span(start['weights'])}" if start["weights"] else ""
        lines.append(f"- fine-tuned from {code_span(str(start['name']))}{weights}\n")
    if first.get("teacher"):
        lines.append(f"- distilled from {code_span(first['teacher'])}\n")
    if sieve := first.get("sieve"):
        options = f" with {_listed(_pairs(sieve['options']))}" if sieve["options"] else ""
        lines.append(f"- images of each epoch: sieve {code_span(sieve['name'])}{options}\n")
    return "".join(lines)


def _front(name: str, about: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "library_name": "ddpnas",
        "pipeline_tag": "image-classification",
        "tags": ["neural-architecture-search", about["space"]] if about["space"] else [],
        "model-index": [
            {
                "name": name,
                "results": [
                    {
                        "task": {"type": "image-classification"},
                        "dataset": {
                            "name": about["provenance"]["data"]["name"],
                            "type": about["provenance"]["data"]["name"],
                            "split": first["split"],
                        },
                        "metrics": [{"type": "accuracy", "value": first["accuracy"]}],
                    }
                ],
            }
        ],
    }


def _rows(about: Mapping[str, Any], result: Mapping[str, Any]) -> list[list[str]]:
    return [
        [
            one["name"],
            *(amount(one["costs"][c]) if c in one["costs"] else "-" for c in about["costs"]),
            f"{100 * one['accuracy']:.2f} %",
        ]
        for one in result["networks"]
    ]


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(map(markdown, row))} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def _kind(about: Mapping[str, Any]) -> str:
    if about["space"] is None:
        return f"a {code_span(about['network'])}"
    return f"an architecture of the search space {code_span(about['space'])}"


def _load_argument(name: str, about: Mapping[str, Any]) -> str:
    """Return what :func:`ddpnas.load` needs for code that is not in the package."""
    if about["space"] is None:
        network = about["network"]
        if network.startswith(("timm:", "torchvision:")):
            return ""
        return f", model={_quoted(f'{name}/{network}') if names_file(network) else network}"
    space = f"{name}/{about['space']}"
    return f", space={_quoted(space)}" if names_file(about["space"]) else ""


def _quoted(text: str) -> str:
    """Return a text as Python writes it, in double quotes."""
    return json.dumps(text)


def _architecture(about: Mapping[str, Any]) -> str:
    if about["space"] is None:
        return ""
    options = _listed(_pairs(about["space_options"]))
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", about["text"])), default=0))
    return f"""## Architecture

{fence}
{about["text"]}
{fence}

Options of the space: {options}

"""


def _input(about: Mapping[str, Any]) -> str:
    shape = " x ".join(str(n) for n in about["input_shape"])
    if not about["mean"]:
        return f"{shape}, taken as it is"
    mean, std = (", ".join(f"{v:.4f}" for v in about[key]) for key in ("mean", "std"))
    return (
        f"{shape} (channels x height x width), resized {about['interpolation']}, scaled to [0, 1], "
        f"less the mean ({mean}), divided by the standard deviation ({std})"
    )


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {split}" for split, count in sizes.items())


def _limits(about: Mapping[str, Any]) -> str:
    if not about["limits"]:
        return ""
    words = [f"{name} {Limit.from_json(one).describe()}" for name, one in about["limits"].items()]
    return f"Found within the limits: {markdown(', '.join(words))}.\n\n"


def _listed(items: Sequence[str]) -> str:
    return ", ".join(map(code_span, items))
