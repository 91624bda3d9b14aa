"""Fetching datasets with the images that their rows name, from servers on this machine."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import wait_until
from jobs.web import Site, messages, picture, serve_bucket, serve_site
from ocrvl_modal.data.rows import read_samples
from ocrvl_modal.errors import ExitCode, OcrvlError
from ocrvl_modal.jobs import download_dataset
from ocrvl_modal.jobs.fetching import web
from ocrvl_modal.places import Places


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(web, "_FIRST_DELAY_S", 0.01)
    with serve_site() as site:
        yield site


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places.under(tmp_path / "home")


def erniekit(image: str, target: str = "1") -> dict[str, Any]:
    texts = [{"text": "OCR:", "tag": "mask"}, {"text": target, "tag": "no_mask"}]
    return {"image_info": [{"matched_text_index": 0, "image_url": image}], "text_info": texts}


def lines(*rows: dict[str, Any] | str) -> bytes:
    texts = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    return "".join(f"{text}\n" for text in texts).encode()


def fetch(places: Places, source: str, **request: Any) -> dict[str, Any]:
    asked = {"places": places.model_dump(mode="json"), "source": source, "name": "mine", **request}
    return download_dataset.run(asked)


def test_rows_come_with_their_images_in_both_forms(site: Site, places: Places) -> None:
    site.files = {
        "/sets/train.jsonl": lines(
            erniekit(f"{site.url}/a.png", "ক খ"), messages("b.png"), messages("../c.png"), erniekit(f"{site.url}/a.png")
        ),
        **{path: picture(number) for number, path in enumerate(["/a.png", "/sets/b.png", "/c.png"])},
    }
    result = fetch(places, f"{site.url}/sets/train.jsonl")
    assert (result["place"], result["rows"]) == ("/data/mine", ["/data/mine/train.jsonl"])
    assert (result["images"]["images"], result["images"]["fetched"], result["images"]["missing"]) == (3, 3, 0)
    samples = read_samples(places.data / "mine" / "train.jsonl")
    assert [sample.image.read_bytes() for sample in samples] == [picture(0), picture(1), picture(2), picture(0)]
    assert samples[0].target == "ক খ"
    digest = hashlib.sha256(picture(0)).hexdigest()
    assert samples[0].image == places.data / "mine" / "images" / digest[:2] / f"{digest}.png"
    row = json.loads((places.data / "mine" / "train.jsonl").read_text().splitlines()[0])
    assert row["image_info"][0]["image_url"] == f"./images/{digest[:2]}/{digest}.png"
    assert [path.name for path in places.data.iterdir() if path.is_dir()] == ["mine"]
    assert site.asked["/a.png"] == 1

    site.asked.clear()
    assert fetch(places, f"{site.url}/sets/train.jsonl")["fetched"] is False
    assert not site.asked


def test_the_same_content_under_two_addresses_is_one_file(site: Site, places: Places) -> None:
    site.files = {"/x.jsonl": lines(messages("a.png"), messages("b.png")), "/a.png": picture(1), "/b.png": picture(1)}
    fetch(places, f"{site.url}/x.jsonl")
    one, other = read_samples(places.data / "mine" / "x.jsonl")
    assert one.image == other.image
    assert len([path for path in (places.data / "mine" / "images").rglob("*") if path.is_file()]) == 1


def test_what_cannot_be_had_is_left_out_counted_and_listed(site: Site, places: Places) -> None:
    bad = ["gone.png", "page.png", "away.png", "ftp://x/y.png", "slow.png"]
    site.files = {
        "/x.jsonl": lines(messages("good.png"), *map(messages, bad), "not json", messages("flaky.png")),
        "/good.png": picture(1),
        "/flaky.png": picture(2),
        "/page.png": b"<html>an error page</html>",
    }
    site.fails = {"/flaky.png": [500, 503], "/slow.png": [500] * 9}
    site.redirects = {"/away.png": "file:///etc/hostname"}
    images = fetch(places, f"{site.url}/x.jsonl")["images"]
    assert images["reasons"] == {"http_404": 1, "not_an_image": 1, "bad_address": 2, "http_500": 1}, images
    assert (images["rows"], images["left_out"], images["missing"], images["images"]) == (8, 5, 5, 2)
    assert [(one["line"], one["image"]) for one in images["examples"]] == list(zip(range(2, 7), bad, strict=True))
    folder = places.data / "mine"
    kept = (folder / "x.jsonl").read_text().splitlines()
    assert len(kept) == 3 and kept[1] == "not json"
    told = [json.loads(line) for line in (folder / "missing.jsonl").read_text().splitlines()]
    assert [(one["file"], one["line"]) for one in told] == [("x.jsonl", line) for line in range(2, 7)]
    assert site.asked["/gone.png"] == 1

    # Asked again, only what is missing is asked for.
    site.asked.clear()
    site.files |= {"/gone.png": picture(3), "/slow.png": picture(4)}
    site.fails.clear()
    again = fetch(places, f"{site.url}/x.jsonl")
    assert (again["fetched"], again["images"]["fetched"], again["images"]["left_out"]) == (True, 2, 3)
    assert "/good.png" not in site.asked
    assert len((folder / "x.jsonl").read_text().splitlines()) == 5


def test_rows_with_odd_bytes_and_addresses_are_told_like_all_others(site: Site, places: Places) -> None:
    odd = ["http://[::1/a.png", "half \ud800.png", "http://127.0.0.1:99999/a.png", "a\0.png", "http://"]
    site.files = {
        "/x.jsonl": b'{"images": ["\xff.png"]}\n'
        + "".join(json.dumps(messages(image)) + "\n" for image in (*odd, "a.png")).encode(),
        "/a.png": picture(1),
    }
    site.files["/x.jsonl"] += json.dumps(messages("a.png", "half \ud800")).encode()
    images = fetch(places, f"{site.url}/x.jsonl")["images"]
    assert (images["rows"], images["left_out"]) == (8, 5)
    kept = (places.data / "mine" / "x.jsonl").read_bytes().splitlines()
    assert kept[0] == b'{"images": ["\xff.png"]}'
    assert b"half \\ud800" in kept[2]


def test_a_server_that_answers_nonsense_costs_its_own_images_only(site: Site, places: Places) -> None:
    site.redirects = {"/astray.png": "http://[bad/a.png"}
    site.fails = {"/later.png": [503]}
    site.retry_after = "\u00b2"
    site.files = {
        "/x.jsonl": lines(*(messages(f"{site.url}/{name}.png") for name in ("astray", "later", "good"))),
        "/later.png": picture(1),
        "/good.png": picture(2),
    }
    images = fetch(places, f"{site.url}/x.jsonl")["images"]
    assert (images["images"], images["reasons"]) == (2, {"bad_address": 1})


@pytest.mark.parametrize("marker", ["", "[]", "5", '{"source": 5}'])
def test_a_dataset_whose_marker_is_damaged_counts_as_something_else(site: Site, places: Places, marker: str) -> None:
    site.files = {"/x.jsonl": lines(messages(f"{site.url}/a.png")), "/a.png": picture(1)}
    fetch(places, f"{site.url}/x.jsonl")
    (places.data / "mine" / download_dataset.MARKER).write_text(marker)
    with pytest.raises(OcrvlError, match="holds something else already"):
        fetch(places, f"{site.url}/x.jsonl")
    assert fetch(places, f"{site.url}/x.jsonl", force=True)["fetched"]


def test_no_dataset_is_made_where_no_image_can_be_had(site: Site, places: Places) -> None:
    site.files = {"/x.jsonl": lines(messages("a.png"), messages("b.png"))}
    with pytest.raises(OcrvlError, match=r"none of the 2 rows.*answers 404") as caught:
        fetch(places, f"{site.url}/x.jsonl")
    assert caught.value.code == ExitCode.DATA_INVALID
    assert "--no-images" in caught.value.hint
    assert not (places.data / "mine").exists()
    rows = fetch(places, f"{site.url}/x.jsonl", images=False)
    assert rows["images"] is None
    assert (places.data / "mine" / "x.jsonl").read_bytes() == site.files["/x.jsonl"]


def test_a_server_that_is_gone_is_not_asked_for_every_image(
    site: Site, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_CONNECT_TIMEOUT_S", 0.5)
    dead = [f"http://127.0.0.1:9/{number}.png" for number in range(200)]
    tried: list[str] = []
    once = web.Web._get_once

    def get_once(self: web.Web, address: str) -> bytes:
        tried.append(address)
        return once(self, address)

    monkeypatch.setattr(web.Web, "_get_once", get_once)
    site.files = {"/x.jsonl": lines(messages("a.png"), *map(messages, dead)), "/a.png": picture(1)}
    images = fetch(places, f"{site.url}/x.jsonl")["images"]
    assert images["reasons"] == {"unreachable": 200}
    assert len(tried) < 200


def test_an_image_that_is_too_large_is_not_taken(site: Site, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "LARGEST_BYTES", 1 << 10)
    site.files = {"/x.jsonl": lines(messages("a.png"), messages("b.png")), "/a.png": picture(1)}
    site.files["/b.png"] = picture(2) + bytes(1 << 12)
    assert fetch(places, f"{site.url}/x.jsonl")["images"]["reasons"] == {"too_large": 1}


def test_another_dataset_is_not_overwritten(site: Site, places: Places) -> None:
    site.files = {"/x.jsonl": lines(messages("a.png")), "/y.jsonl": lines(messages("a.png")), "/a.png": picture(1)}
    fetch(places, f"{site.url}/x.jsonl")
    with pytest.raises(OcrvlError, match="holds something else") as caught:
        fetch(places, f"{site.url}/y.jsonl")
    assert caught.value.code == ExitCode.USAGE
    assert fetch(places, f"{site.url}/y.jsonl", force=True)["rows"] == ["/data/mine/y.jsonl"]


@pytest.mark.parametrize("reference", ["../outside.png", "/etc/hostname", "a/../../outside.png"])
def test_no_row_of_an_object_store_leads_out_of_its_folder(places: Places, tmp_path: Path, reference: str) -> None:
    bucket = tmp_path / "bucket"
    (bucket / "images").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(picture(9))
    (bucket / "images" / "a.png").write_bytes(picture(1))
    (bucket / "train.jsonl").write_bytes(lines(messages("./images/a.png"), messages(reference)))
    images = fetch(places, f"file://{bucket}")["images"]
    assert images["reasons"] == {"bad_address": 1}
    assert images["examples"][0]["detail"] == "it leaves the folder of its dataset"


def test_a_folder_of_an_object_store_comes_with_the_images_that_rows_name(places: Places, tmp_path: Path) -> None:
    bucket = tmp_path / "bucket"
    (bucket / "parts").mkdir(parents=True)
    (bucket / "train.jsonl").write_bytes(lines(messages("a.png")))
    (bucket / "parts" / "more.jsonl").write_bytes(lines(messages("b.png"), messages("gone.png")))
    (bucket / "a.png").write_bytes(picture(1))
    (bucket / "parts" / "b.png").write_bytes(picture(2))
    (bucket / "unnamed.png").write_bytes(picture(3))
    result = fetch(places, f"file://{bucket}/")
    assert result["rows"] == ["/data/mine/parts/more.jsonl", "/data/mine/train.jsonl"]
    assert result["images"]["reasons"] == {"not_found": 1}
    folder = places.data / "mine"
    assert read_samples(folder / "train.jsonl")[0].image.read_bytes() == picture(1)
    assert read_samples(folder / "parts" / "more.jsonl")[0].image.read_bytes() == picture(2)


def test_without_obstore_the_line_that_installs_it_is_told(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(OcrvlError) as caught:
        fetch(places, "s3://bucket/x.jsonl")
    assert caught.value.hint == "pip install 'ocrvl-modal[cloud]'"


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        ("bengal", "bengali"),
        ("me/a/b", "OWNER/NAME"),
        ("https://example.org/page.html", "rows"),
        ("ftp://x/y", "s3://"),
        ("http://[bad/x.jsonl", "https://"),
    ],
)
def test_what_is_no_source_is_told_with_what_is(places: Places, source: str, hint: str) -> None:
    with pytest.raises(OcrvlError) as caught:
        fetch(places, source)
    assert caught.value.code == ExitCode.USAGE
    assert hint in caught.value.hint


def test_a_signature_in_an_address_is_neither_told_nor_kept(site: Site, places: Places) -> None:
    site.files = {"/x.jsonl?signature=hush": lines(messages(f"{site.url}/a.png")), "/a.png": picture(1)}
    result = fetch(places, f"{site.url}/x.jsonl?signature=hush")
    assert "hush" not in json.dumps(result)
    kept = [path for path in places.data.rglob("*") if path.is_file() and b"hush" in path.read_bytes()]
    assert kept == []


FETCHER = """
import json, sys
from ocrvl_modal.jobs import download_dataset
print(json.dumps(download_dataset.run(json.loads(sys.argv[1]))))
"""


def test_a_download_that_is_killed_goes_on_with_the_other_images(site: Site, places: Places) -> None:
    count = 300
    site.files = {f"/{number}.png": picture(number) for number in range(count)}
    site.files["/x.jsonl"] = lines(*(messages(f"{number}.png", str(number)) for number in range(count)))
    asked = {"places": places.model_dump(mode="json"), "source": f"{site.url}/x.jsonl", "name": "mine"}
    command = [sys.executable, "-c", FETCHER, json.dumps(asked)]
    environment = {**os.environ, "no_proxy": "127.0.0.1"}
    for share in (0.1, 0.6):
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        wait_until(lambda share=share: len(site.asked) > share * count, "some of the images")
        process.kill()
        process.communicate()
        assert not (places.data / "mine").exists()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    images = json.loads(done.stdout)["images"]
    assert images["images"] == count and images["fetched"] < 0.5 * count
    samples = read_samples(places.data / "mine" / "x.jsonl")
    assert [sample.image.read_bytes() for sample in samples] == [picture(int(sample.target)) for sample in samples]
    assert [path.name for path in places.data.iterdir() if path.is_dir()] == ["mine"]


def test_a_bucket_is_read_with_its_keys_and_refused_without(places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    objects = {
        "sets/one/train.jsonl": lines(messages("a b.png"), messages("s3://bucket/shared/c.png"), messages("no.png")),
        "sets/one/a b.png": picture(1),
        "shared/c.png": picture(2),
        "sets/other/train.jsonl": lines(messages("a.png")),
    }
    with serve_bucket("bucket", objects, key_id="AKIAEXAMPLE") as endpoint:
        settings = {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1"}
        keys = {"AWS_ACCESS_KEY_ID": "AKIAOTHER", "AWS_SECRET_ACCESS_KEY": "hush-hush"}
        for name, value in {**settings, **keys}.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(OcrvlError) as caught:
            fetch(places, "s3://bucket/sets/one")
        assert caught.value.code == ExitCode.NOT_PERMITTED
        assert "AWS_ACCESS_KEY_ID" in caught.value.hint
        assert "hush" not in str(caught.value.args)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        result = fetch(places, "s3://bucket/sets/one")
    assert result["rows"] == ["/data/mine/train.jsonl"]
    assert result["images"]["reasons"] == {"not_found": 1}
    samples = read_samples(places.data / "mine" / "train.jsonl")
    assert [sample.image.read_bytes() for sample in samples] == [picture(1), picture(2)]
