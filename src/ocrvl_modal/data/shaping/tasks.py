"""The task of a prompt."""

from __future__ import annotations

from ocrvl_modal.models import task_of


def task_name(prompt: str) -> str:
    """Return the task that a prompt asks for, or the prompt itself where it is the user's own."""
    return task_of(prompt) or prompt
