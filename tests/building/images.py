"""Small images for the tests."""

from __future__ import annotations

from ocrvl_modal.building.recipe import ImageRecipe, Layer, WheelSource
from ocrvl_modal.pins import DEBIAN, FrameworkWheel

BUILDER = "2026.10"
WHEEL = FrameworkWheel("3.2.0", "cu126", "cp312")
STORED = WheelSource("store", f"/wheels/{'a' * 64}/{WHEEL.file_name}", "a" * 64, 1_890_365_820)


def python_layer(name: str, **pins: str) -> Layer:
    return Layer(name, "for a test of layers", "python", pins=pins)


def small_image(*layers: Layer) -> ImageRecipe:
    return ImageRecipe("small", "a test", DEBIAN, layers, imports=("json",))


THREE = small_image(
    python_layer("first", numpy="1.26.4"),
    Layer("paddle", "the framework of a test", "framework", wheel=WHEEL, with_dependencies=False),
    python_layer("last", pillow="12.3.0"),
)
