"""HelpFormatter: help that names a default only where it tells something."""

from __future__ import annotations

from argparse import SUPPRESS, Action, _SubParsersAction

from jsonargparse import DefaultHelpFormatter

__all__ = ["HelpFormatter"]


class HelpFormatter(DefaultHelpFormatter):
    """Writes the help of a command.

    Types and empty defaults are left out, the list of commands has no heading, and what stands
    below the options keeps its lines.
    """

    def _get_help_string(self, action: Action) -> str:
        text = (action.help or "").strip()
        value = action.default
        empty = value is None or value is False or value in (SUPPRESS, [], {})
        if not action.option_strings or "default" in text or empty:
            return text
        shown = f"{value:g}" if isinstance(value, float) else "%(default)s"
        ended = text.endswith(".") and not text.endswith("...")
        return f"{text[:-1] if ended else text} (default: {shown})"

    def _format_action(self, action: Action) -> str:
        if isinstance(action, _SubParsersAction):
            commands = self._iter_indented_subactions(action)
            return self._join_parts([self._format_action(command) for command in commands])
        return super()._format_action(action)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        lines = text.splitlines()
        return "\n".join(super(HelpFormatter, self)._fill_text(one, width, indent) for one in lines)
