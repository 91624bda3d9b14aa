"""The floors of the house: who may import whom, what may be imported at all, and what must stay light."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import ocrvl_modal

PACKAGE = Path(ocrvl_modal.__file__).parent

GROUND, TRADES, JOBS, PLACEMENT, CONVERSATION, ENTRY = range(1, 7)

# Every room (a module at the top of the package, or a folder) and its floor. A new room must be given one.
FLOORS = {
    "": GROUND,
    "_version": GROUND,
    "configs": GROUND,
    "cores": GROUND,
    "fetched_models": GROUND,
    "model_folders": GROUND,
    "errors": GROUND,
    "files": GROUND,
    "gpus": GROUND,
    "locks": GROUND,
    "models": GROUND,
    "pins": GROUND,
    "places": GROUND,
    "recipe_edits": GROUND,
    "recipe_schema": GROUND,
    "recipe_text": GROUND,
    "recipes": GROUND,
    "runs": GROUND,
    "settings": GROUND,
    "storage": GROUND,
    "data": TRADES,
    "doctor": TRADES,
    "engines": TRADES,
    "evals": TRADES,
    "plan": TRADES,
    "transfer": TRADES,
    "wheels": TRADES,
    "jobs": JOBS,
    "app": PLACEMENT,
    "backends": PLACEMENT,
    "building": PLACEMENT,
    "container": PLACEMENT,
    "image": PLACEMENT,
    "upkeep": PLACEMENT,
    "volumes": PLACEMENT,
    "output": CONVERSATION,
    "report": CONVERSATION,
    "__main__": ENTRY,
    "cli": ENTRY,
    "commands": ENTRY,
}

# What the GPU image has to import with neither typer nor rich nor modal in it.
WITHOUT_CONVERSATION = ("data", "doctor", "engines", "evals", "jobs", "runs", "transfer", "wheels")
# Imported only by the trainer's own process, which needs torch from its first line.
TRAINER = "engines.trainer"
HEAVY = ("torch", "transformers", "peft", "PIL", "modal", "paddle", "pandas")


@dataclass(frozen=True)
class Import:
    """One import statement: what it names, and whether it runs when its module is imported."""

    line: int
    target: str
    at_top: bool


def module_names() -> dict[str, Path]:
    """Return every module of the package, by its dotted name inside the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = module_names()


def room_of(module: str) -> str:
    return module.partition(".")[0]


def in_rooms(module: str, rooms: tuple[str, ...]) -> bool:
    return room_of(module) in rooms


def imports_of(module: str) -> list[Import]:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    return list(_imports_in(tree, at_top=True))


def _imports_in(node: ast.AST, *, at_top: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(child.lineno, alias.name, at_top) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from (Import(child.lineno, target, at_top) for target in _targets(child))
        else:
            runs_later = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or _is_for_types(child)
            yield from _imports_in(child, at_top=at_top and not runs_later)


def _targets(node: ast.ImportFrom) -> list[str]:
    """Return what a ``from … import …`` loads: each name that is a module of ours, or else the module named."""
    base = "." * node.level + (node.module or "")
    names = [f"{base}.{alias.name}" for alias in node.names]
    return [name for name in names if inside(name) in MODULES] or [base]


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


def inside(target: str) -> str | None:
    """Return a target's name inside the package, or ``None`` for another package's."""
    root, _, rest = target.partition(".")
    return rest if root == "ocrvl_modal" else None


def where(module: str, statement: Import) -> str:
    return f"{MODULES[module].relative_to(PACKAGE)}:{statement.line} imports {statement.target}"


def those_importing(modules: list[str], packages: tuple[str, ...], *, at_top_only: bool = False) -> list[str]:
    return [
        where(module, statement)
        for module in modules
        for statement in imports_of(module)
        if statement.target.partition(".")[0] in packages and (statement.at_top or not at_top_only)
    ]


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


def test_every_room_has_a_floor_and_every_floor_its_rooms() -> None:
    assert {room_of(module) for module in MODULES} == set(FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_from_a_floor_above_its_own(module: str) -> None:
    floor = FLOORS[room_of(module)]
    upward = [
        where(module, statement)
        for statement in imports_of(module)
        if (target := inside(statement.target)) is not None and FLOORS[room_of(target)] > floor
    ]
    assert upward == []


def test_no_rooms_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {room: set() for room in FLOORS}
    for module in MODULES:
        for statement in imports_of(module):
            target = inside(statement.target)
            if target is not None and statement.at_top and room_of(target) != room_of(module):
                graph[room_of(module)].add(room_of(target))
    # The package's own file reads the version, and every import passes through it.
    graph[""] = set()
    TopologicalSorter(graph).prepare()


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {
        module: {
            target
            for statement in imports_of(module)
            if statement.at_top and (target := inside(statement.target)) is not None and target != module
        }
        for module in MODULES
        if module
    }
    TopologicalSorter(graph).prepare()


def test_every_import_names_the_whole_way() -> None:
    relative = [
        where(module, statement)
        for module in MODULES
        for statement in imports_of(module)
        if statement.target.startswith(".")
    ]
    assert relative == []


def test_nobody_imports_click() -> None:
    assert those_importing(list(MODULES), ("click",)) == []


def test_what_the_gpu_image_runs_never_imports_typer_rich_or_modal() -> None:
    modules = [module for module in MODULES if in_rooms(module, WITHOUT_CONVERSATION)]
    assert those_importing(modules, ("typer", "rich", "modal")) == []


def test_data_scores_plans_and_recipes_never_import_modal() -> None:
    modules = [module for module in MODULES if in_rooms(module, ("data", "evals", "plan", "recipes"))]
    assert those_importing(modules, ("modal",)) == []


def test_heavy_libraries_are_imported_inside_functions() -> None:
    modules = [module for module in MODULES if not module.startswith(TRAINER)]
    assert those_importing(modules, HEAVY, at_top_only=True) == []


def test_commands_import_nothing_at_top_but_typer_and_errors() -> None:
    allowed = {"typer", "ocrvl_modal.errors", *sys.stdlib_module_names}
    commands = [module for module in MODULES if module.startswith("commands.") and not module.startswith("commands._")]
    others = [
        where(module, statement)
        for module in commands
        for statement in imports_of(module)
        if statement.at_top
        and statement.target.partition(".")[0] not in allowed
        and statement.target not in allowed
        and not statement.target.startswith("ocrvl_modal.commands.")
    ]
    assert others == []


def test_jobs_engines_and_runs_import_without_typer_rich_and_modal() -> None:
    modules = [
        f"ocrvl_modal.{module}"
        for module in MODULES
        if in_rooms(module, WITHOUT_CONVERSATION) and not module.startswith(TRAINER)
    ]
    code = """
import importlib, json, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("typer", "rich", "modal"):
            raise ImportError(f"{name} is not in the GPU image")

sys.meta_path.insert(0, Absent())
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps(sorted(set(sys.modules) & set(json.loads(sys.argv[2])))))
"""
    done = run_python(code, json.dumps(modules), json.dumps(HEAVY))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == []


def test_every_help_page_is_light() -> None:
    code = """
import contextlib, io, json, sys
import typer
from ocrvl_modal.cli import app_for

def paths(command, path):
    yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, [*path, name])

pages, loaded = {}, {}
for path in paths(typer.main.get_command(app_for([])), []):
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        app_for(path)([*path, "--help"], standalone_mode=False)
    pages[" ".join(path)] = printed.getvalue()
    loaded[" ".join(path)] = sorted(sys.modules)
print(json.dumps([pages, loaded]))
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    pages, loaded = json.loads(done.stdout)
    assert {"", "train", "data check", "runs ls", "recipe show"} <= set(pages)
    assert [page for page, text in pages.items() if "Usage: " not in text] == []
    heavy = {*HEAVY, "rich", "yaml", "msgspec", "numpy"}
    assert {page: heavy & set(modules) for page, modules in loaded.items() if heavy & set(modules)} == {}
    # Typer itself loads pydantic as soon as it reads an option; we do not before that, nor any more of our own rooms.
    assert "pydantic" not in loaded[""]
    ours = {module for modules in loaded.values() for module in modules if module.startswith("ocrvl_modal.")}
    assert {room_of(module.partition(".")[2]) for module in ours} == {"_version", "cli", "commands", "errors"}
