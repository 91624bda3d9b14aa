"""What ``ocrvl doctor`` finds out about this machine before any job runs: settings, token, stores, disk, wheels."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from ocrvl_modal import files
from ocrvl_modal.backends.base import Backend
from ocrvl_modal.backends.opening import open_backend
from ocrvl_modal.backends.wheel_store import list_stored
from ocrvl_modal.doctor import packages, system
from ocrvl_modal.doctor.findings import Finding, Result, failed, passed, skipped
from ocrvl_modal.doctor.subject import MACHINE, Subject
from ocrvl_modal.errors import OcrvlError, first_line, of_the_system
from ocrvl_modal.models import DEFAULT_MODEL, FAMILY
from ocrvl_modal.places import Places
from ocrvl_modal.plan import DatasetSize, make_plan
from ocrvl_modal.recipes import recipe_from
from ocrvl_modal.settings import BackendChoice, choose_backend, has_modal_token, home, settings_file
from ocrvl_modal.upkeep.probing import probe_stores
from ocrvl_modal.wheels.folder import WHEELS_FOLDER, list_local

LONGEST_S = 90.0
"""A check of this machine that waits longer for an answer is given up."""

_STAGING_BYTES = 1 << 30
"""Room for what is made ready here before it travels to Modal."""


@dataclass(frozen=True)
class Machine:
    """This machine, as a command finds it: ``flag`` is its ``--backend``, ``remote`` that it goes to Modal anyway."""

    flag: str | None
    remote: bool = False

    @classmethod
    def of(cls, flag: str | None, *, remote: bool) -> Machine:
        """Return this machine; raise a usage error for a flag that names no backend."""
        if flag:
            choose_backend(flag)
        return cls(flag, remote)

    @cached_property
    def choice(self) -> BackendChoice | OcrvlError:
        """The chosen backend, or why none could be."""
        try:
            return choose_backend(self.flag)
        except OcrvlError as error:
            return error

    @property
    def uses_modal(self) -> bool:
        """Whether commands go to Modal from here."""
        return self.remote or (isinstance(self.choice, BackendChoice) and self.choice.name == "modal")

    @cached_property
    def backend(self) -> Backend | OcrvlError:
        """The open backend, or why it could not be opened; asked of Modal once, with a deadline of seconds."""
        choice = BackendChoice("modal", "--remote") if self.remote else self.choice
        if isinstance(choice, OcrvlError):
            return choice
        try:
            return open_backend(choice)
        except OcrvlError as error:
            return error


def check_machine(machine: Machine, names: Sequence[str], on_done: Callable[[Result], None]) -> list[Result]:
    """Run checks of :data:`MACHINE_CHECKS` one after another; one that fails does not keep the others from running."""
    results = []
    for name in names:
        began = time.monotonic()
        finding = _in_time(MACHINE_CHECKS[name].run, machine)
        results.append(Result.of(MACHINE, name, finding, time.monotonic() - began))
        on_done(results[-1])
    return results


def python(machine: Machine) -> Finding:  # noqa: ARG001 - the same for all
    """Return what the check of that name says of the Python that runs this command."""
    return system.python(Subject(places=Places.under(home())))


def installed(machine: Machine) -> Finding:  # noqa: ARG001 - the same for all
    """Return which parts of ocrvl are installed."""
    return packages.packages()


def settings(machine: Machine) -> Finding:
    """Return which backend commands go to, and why."""
    choice = machine.choice
    if isinstance(choice, OcrvlError):
        return failed(choice.message, choice.hint)
    file = settings_file()
    return passed(
        f"commands go to the {choice.name} backend: {choice.because}",
        backend=choice.name,
        because=choice.because,
        home=str(home()),
        settings_file=str(file) if file.is_file() else None,
    )


def token(machine: Machine) -> Finding:
    """Return whether Modal lets us in."""
    if not machine.uses_modal:
        hint = "--backend modal" if has_modal_token() else "modal setup signs in, should you want to rent GPUs"
        return skipped("this machine uses the local backend", hint)
    backend = machine.backend
    if isinstance(backend, OcrvlError):
        return failed(backend.message, backend.hint)
    return passed("Modal answers, and knows the token")


def stores(machine: Machine) -> Finding:
    """Write, read and remove a small file in each store."""
    backend = machine.backend
    if isinstance(backend, OcrvlError):
        return skipped("the backend cannot be opened", "mend what the checks 'settings' and 'token' say")
    probes = probe_stores(backend)
    evidence = {probe.store: {"where": probe.where, "seconds": probe.seconds} for probe in probes}
    broken = [probe for probe in probes if probe.problem]
    if broken:
        return failed(f"/{broken[0].store}: {broken[0].problem}", broken[0].hint, **evidence)
    return passed(f"all {len(probes)} on the {backend.name} backend can be written and read", **evidence)


def disk(machine: Machine) -> Finding:
    """Compare the free disk with what runs on this machine take."""
    free = files.free_bytes(home())
    if machine.uses_modal:
        return judge_disk(free, _STAGING_BYTES, None)
    return judge_disk(free, _disk_of_a_run("tiny") + _STAGING_BYTES, _disk_of_a_run(DEFAULT_MODEL))


def judge_disk(free: int, least: int, full: int | None) -> Finding:
    """Return the verdict on ``free`` bytes, where ``least`` must be there and a real training takes ``full``."""
    evidence = {"free_gib": _gib(free), "least_gib": _gib(least), "home": str(home())}
    if free < least:
        return failed(
            f"{_gib(free)} GiB are free in {home()}, and {_gib(least)} GiB are the least that is needed",
            "free some space, or OCRVL_HOME=FOLDER on another disk",
            **evidence,
        )
    if full is None:
        return passed(f"{_gib(free)} GiB are free", **evidence)
    title = FAMILY[DEFAULT_MODEL].title
    told = f"enough to train all of {title}" if free >= full else f"training all of {title} here takes {_gib(full)} GiB"
    return passed(f"{_gib(free)} GiB are free; {told}", **evidence, full_training_gib=_gib(full))


def wheels(machine: Machine) -> Finding:
    """Hold the framework wheels of the working folder against their manifest, and look for them in the store."""
    local = list_local(WHEELS_FOLDER)
    broken = [wheel for wheel in local if wheel.problem]
    backend = machine.backend
    stored = [] if isinstance(backend, OcrvlError) else [wheel.file_name for wheel in list_stored(backend.stores)]
    evidence = {"in_folder": [wheel.file_name for wheel in local], "in_store": stored}
    if broken:
        return failed(f"{broken[0].path}: {broken[0].problem}", f"ocrvl wheel verify {broken[0].path}", **evidence)
    if not local and not stored:
        return skipped("no framework wheel is here: builds of images fetch theirs", "ocrvl wheel fetch, then push")
    return passed(f"{len(local)} in {WHEELS_FOLDER}/, {len(stored)} in the store", **evidence)


@dataclass(frozen=True)
class MachineCheck:
    """A check of this machine, which runs in this process."""

    run: Callable[[Machine], Finding]
    proves: str


MACHINE_CHECKS: Mapping[str, MachineCheck] = MappingProxyType(
    {
        "python": MachineCheck(python, "Python is of a version that ocrvl was made for"),
        "packages": MachineCheck(installed, "ocrvl's own requirements are met; which extras are here"),
        "settings": MachineCheck(settings, "the settings can be read; which backend commands go to, and why"),
        "token": MachineCheck(token, "Modal answers within seconds, and knows the token"),
        "stores": MachineCheck(stores, "a file goes into each store, comes back, and goes away"),
        "disk": MachineCheck(disk, "there is room for what a run writes on this machine"),
        "wheels": MachineCheck(wheels, "framework wheels in ./wheels are what they were when they were verified"),
    }
)


def _in_time(check: Callable[[Machine], Finding], machine: Machine) -> Finding:
    """Return what a check finds; one that gets no answer is left behind in its thread."""
    found: list[Finding] = []
    thread = threading.Thread(target=lambda: found.append(_in_words(check, machine)), daemon=True)
    thread.start()
    thread.join(LONGEST_S)
    return found[0] if found else failed(f"no answer within {LONGEST_S:.0f} seconds", "check the network and try again")


def _in_words(check: Callable[[Machine], Finding], machine: Machine) -> Finding:
    try:
        return check(machine)
    except OcrvlError as error:
        return failed(error.message, error.hint)
    except OSError as error:
        told = of_the_system(error)
        return failed(told.message, told.hint)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other checks have more to say
        return failed(f"{type(error).__name__}: {first_line(error)}", "report this line with `ocrvl --version`")


def _disk_of_a_run(model: str) -> int:
    """Return what the default recipe of a model writes, and the model itself."""
    member = FAMILY[model]
    recipe = recipe_from({"model": {"name": model}, "engine": "transformers"})
    plan = make_plan(
        recipe,
        member,
        run="",
        backend="local",
        hardware="",
        train=DatasetSize(samples=1, tokens=1, longest_sample_tokens=1),
        validation_samples=0,
        devices=1,
    )
    return plan.disk_bytes + member.download_bytes


def _gib(size_bytes: int) -> float:
    return round(size_bytes / 2**30, 1)
