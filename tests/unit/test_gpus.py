from __future__ import annotations

from decimal import Decimal

import pytest

from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.gpus import GPUS, parse_gpu


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_is_read_by_its_name_in_any_case(name: str) -> None:
    assert parse_gpu(name.lower()).gpu is GPUS[name]


@pytest.mark.parametrize(
    ("text", "name", "count"),
    [("L40S", "L40S", 1), (" h100:8 ", "H100", 8), ("a100-80gb:2", "A100-80GB", 2), ("A10:4", "A10", 4)],
)
def test_a_count_follows_a_colon(text: str, name: str, count: int) -> None:
    request = parse_gpu(text)
    assert (request.gpu.name, request.count) == (name, count)


@pytest.mark.parametrize(("alias", "name"), [("A100", "A100-40GB"), ("A10G", "A10")])
def test_names_that_modal_also_takes_mean_the_same_gpu(alias: str, name: str) -> None:
    assert parse_gpu(alias).gpu.name == name


@pytest.mark.parametrize("text", ["L40S", "A100-80GB:2"])
def test_a_request_is_written_as_it_is_read(text: str) -> None:
    assert str(parse_gpu(text)) == text


@pytest.mark.parametrize("text", ["L40S:", "L40S:0", "L40S:9", "A10:5", "L40S:two", "L40S:-1", "L40S:1:2", "L40S:²"])
def test_a_count_that_the_gpu_does_not_come_in_is_refused(text: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        parse_gpu(text)
    assert caught.value.code is ExitCode.USAGE
    assert "comes in 1 to" in caught.value.hint


@pytest.mark.parametrize(("text", "nearest"), [("L40", "L40S"), ("H10O", "H100"), ("A100-80", "A100-80GB")])
def test_an_unknown_gpu_is_refused_with_the_nearest_name(text: str, nearest: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        parse_gpu(text)
    assert caught.value.code is ExitCode.USAGE
    assert nearest in caught.value.hint


def test_the_price_is_that_of_all_gpus_together() -> None:
    assert parse_gpu("A100-80GB:2").price_usd_per_hour == Decimal("5.00")


def test_a_t4_is_known_to_lack_bf16() -> None:
    assert [gpu.name for gpu in GPUS.values() if not gpu.bf16] == ["T4"]
