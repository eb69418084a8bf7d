"""main_output(): the logits of a network that may have auxiliary heads."""

from __future__ import annotations

from typing import Any

__all__ = ["main_output"]


def main_output(outputs: Any) -> Any:
    """Return what a network answers, without the outputs of its auxiliary heads.

    Args:
        outputs: What the network returned: its output, or while it trains a tuple of that and those
            of auxiliary heads.

    Example:
        >>> main_output(("logits", "auxiliary logits")), main_output("logits")
        ('logits', 'logits')
    """
    return outputs[0] if isinstance(outputs, tuple) and outputs else outputs
