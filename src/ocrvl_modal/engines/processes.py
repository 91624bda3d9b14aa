"""How many processes train on this machine, and with how many threads each."""

from __future__ import annotations

from ocrvl_modal.cores import usable_cores
from ocrvl_modal.engines.base import EngineJob
from ocrvl_modal.gpus import visible_gpus
from ocrvl_modal.recipes import TrainRecipe


def count_processes(recipe: TrainRecipe) -> int:
    """Return what the recipe asks for; else one for each GPU that is seen, and one without any."""
    return recipe.hardware.num_processes or len(visible_gpus()) or 1


def threads_of_each(job: EngineJob, num_processes: int) -> int:
    """Return the threads a process computes with: the tiny model is slower with two, which wait for each other."""
    if job.recipe.hardware.threads:
        return job.recipe.hardware.threads
    return 1 if job.member.name == "tiny" else max(1, usable_cores() // num_processes)
