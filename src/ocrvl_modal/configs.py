"""The recipes that ship with ocrvl: where they lie, and how one is found by its name."""

from __future__ import annotations

from pathlib import Path

from ocrvl_modal.errors import did_you_mean, not_found


def shipped_recipes() -> dict[str, Path]:
    """Return every shipped recipe by its name, such as ``paddleocr-vl-1.6/text-lora``; the quickstart's comes first."""
    folder = _folder()
    paths = sorted(folder.rglob("*.yaml"), key=lambda path: (len(path.parts), path))
    return {path.relative_to(folder).as_posix().removesuffix(".yaml"): path for path in paths}


def find_recipe(reference: str) -> Path:
    """Return the recipe file that ``reference`` means: a file at that path, else a shipped recipe of that name.

    Raises *not found*, with the nearest shipped name, where it is neither.
    """
    path = Path(reference)
    if path.is_file():
        return path
    shipped = shipped_recipes()
    found = shipped.get(reference.removesuffix(".yaml"))
    if found is None:
        raise not_found(
            f"there is neither a file nor a shipped recipe '{reference}'; {did_you_mean(reference, shipped)}",
            "ocrvl recipe ls",
        )
    return found


def title_of(path: Path) -> str:
    """Return the first line of a recipe file's header, without its mark; nothing where it has no header."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        first = next(lines, "")
    return first.lstrip("#").strip() if first.startswith("#") else ""


def _folder() -> Path:
    """In a wheel the recipes lie in the package; in a checkout, at its top, where people look for them."""
    package = Path(__file__).resolve().parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parents[1] / "configs"
