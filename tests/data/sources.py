"""One small source of each format that can be converted, made in a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

WIDTH, HEIGHT = 200, 100
BOXES = {"one": (10, 10, 90, 30), "two": (10, 50, 150, 80)}
"""The lines of each page: left, top, right, bottom."""

COLOURS = {"one": "red", "two": "blue"}


def draw_page(path: Path, **options: Any) -> Path:
    """Write a page on which each line is a box of one colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    for text, box in BOXES.items():
        draw.rectangle(box, fill=COLOURS[text])
    image.save(path, **options)
    return path


def corners(box: tuple[int, int, int, int]) -> list[list[int]]:
    left, top, right, bottom = box
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def flat(box: tuple[int, int, int, int]) -> list[int]:
    return [number for corner in corners(box) for number in corner]


def paddle_recognition(folder: Path) -> Path:
    for name in ("a", "b"):
        draw_page(folder / "crops" / f"{name}.png")
    (folder / "rec_gt.txt").write_text("crops/a.png\tone\ncrops/b.png\ttwo\tparts\n", encoding="utf-8")
    return folder / "rec_gt.txt"


def paddle_detection(folder: Path) -> Path:
    """As PPOCRLabel writes it: paths begin with the name of the folder that the label file is in."""
    draw_page(folder / "scans" / "page.png")
    lines = [{"transcription": text, "points": corners(box)} for text, box in BOXES.items()]
    lines.append({"transcription": "###", "points": corners((160, 10, 190, 30)), "difficult": False})
    label = folder / "scans" / "Label.txt"
    label.write_text(f"scans/page.png\t{json.dumps(lines)}\n", encoding="utf-8")
    return label


def pairs(folder: Path) -> Path:
    for name, text in {"a.txt": "one", "b.gt.txt": "two\nlines", "c.md": "# Three"}.items():
        draw_page(folder / "below" / f"{name.partition('.')[0]}.png")
        (folder / "below" / name).write_text(f"{text}\n", encoding="utf-8")
    return folder


def csv(folder: Path) -> Path:
    draw_page(folder / "images" / "a.png")
    rows = '\ufefffile_name,n,Text\nimages/a.png,1,"one, two\nthree"\nhttps://example.org/b.png,2,two\n'
    (folder / "labels.csv").write_text(rows, encoding="utf-8")
    return folder / "labels.csv"


def tsv(folder: Path) -> Path:
    draw_page(folder / "a.png")
    (folder / "labels.tsv").write_text("path\ttranscription\na.png\tone\n", encoding="utf-8")
    return folder / "labels.tsv"


def parquet_bytes(folder: Path, number: int = 3) -> bytes:
    """A table as the hub's datasets have it: the image is a struct of its content and its path."""
    import pyarrow
    from pyarrow import parquet

    page = draw_page(folder / "for_parquet.png").read_bytes()
    rows = [{"id": n, "image": {"bytes": page, "path": f"{n}.png"}, "text": f"text {n}"} for n in range(number)]
    sink = pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.Table.from_pylist(rows), sink)
    (folder / "for_parquet.png").unlink()
    return bytes(sink.getvalue().to_pybytes())


def parquet(folder: Path) -> Path:
    (folder / "train.parquet").write_bytes(parquet_bytes(folder))
    return folder / "train.parquet"


def coco_text(folder: Path) -> Path:
    draw_page(folder / "train2014" / "COCO_1.jpg")
    words = {
        "11": {"id": 11, "image_id": 1, "polygon": flat(BOXES["one"]), "utf8_string": "one", "legibility": "legible"},
        "12": {"id": 12, "image_id": 1, "bbox": [10, 50, 140, 30], "utf8_string": "two", "legibility": "legible"},
        "13": {"id": 13, "image_id": 1, "bbox": [160, 10, 30, 20], "legibility": "illegible"},
    }
    image = {"id": 1, "file_name": "COCO_1.jpg", "width": WIDTH, "height": HEIGHT, "set": "train"}
    (folder / "cocotext.json").write_text(json.dumps({"imgs": {"1": image}, "anns": words}), encoding="utf-8")
    return folder / "cocotext.json"


def icdar(folder: Path) -> Path:
    draw_page(folder / "images" / "img_1.jpg")
    lines = [f"{','.join(map(str, flat(box)))},{text}" for text, box in BOXES.items()]
    lines.append("160,10,190,10,190,30,160,30,###")
    (folder / "gt").mkdir(parents=True)
    (folder / "gt" / "gt_img_1.txt").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", encoding="utf-8")
    return folder


def pubtabnet(folder: Path) -> Path:
    """A head of two merged cells over two cells, of which one has markup, an entity and a sign that HTML would read."""
    draw_page(folder / "val" / "PMC1_000.png")
    structure = ["<thead>", "<tr>", "<td", ' colspan="2"', ">", "</td>", "</tr>", "</thead>", "<tbody>", "<tr>"]
    structure += ["<td>", "</td>", "<td></td>", "</tr>", "</tbody>"]
    cells = [["<b>", "H", "</b>"], ["&lt;", " ", "1", "<", "sup", "2"], []]
    table = {"structure": {"tokens": structure}, "cells": [{"tokens": cell, "bbox": [1, 2, 3, 4]} for cell in cells]}
    label = {"filename": "PMC1_000.png", "split": "val", "imgid": 7, "html": table}
    (folder / "PubTabNet_2.0.0.jsonl").write_text(json.dumps(label) + "\n", encoding="utf-8")
    return folder


def page_xml(folder: Path) -> Path:
    """As Transkribus exports it: the XML in a folder beside the images, and the second region is read first."""
    draw_page(folder / "scan.png")
    lines = {
        text: f'<TextLine id="l_{text}"><Coords points="{" ".join(f"{x},{y}" for x, y in corners(box))}"/>'
        f'<TextEquiv index="1"><Unicode>wrong</Unicode></TextEquiv>'
        f'<TextEquiv index="0"><Unicode>{text}</Unicode></TextEquiv></TextLine>'
        for text, box in BOXES.items()
    }
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<PcGts xmlns="http://schema.primaresearch.org/PAGE/gts/pagecontent/2013-07-15">'
        f'<Page imageFilename="scan.png" imageWidth="{WIDTH}" imageHeight="{HEIGHT}"><ReadingOrder>'
        '<OrderedGroup id="g"><RegionRefIndexed index="1" regionRef="r1"/>'
        '<RegionRefIndexed index="0" regionRef="r2"/></OrderedGroup></ReadingOrder>'
        f'<TextRegion id="r1">{lines["one"]}</TextRegion><TextRegion id="r2">{lines["two"]}</TextRegion>'
        "</Page></PcGts>"
    )
    (folder / "page").mkdir(parents=True)
    (folder / "page" / "scan.xml").write_text(xml, encoding="utf-8")
    (folder / "mets.xml").write_text("<mets/>", encoding="utf-8")
    return folder


def alto(folder: Path) -> Path:
    """In tenths of millimetres: the page is twice as large in them as in pixels."""
    draw_page(folder / "scan.tif")
    lines = "".join(
        f'<TextLine ID="{text}" HPOS="{2 * box[0]}" VPOS="{2 * box[1]}" WIDTH="{2 * (box[2] - box[0])}"'
        f' HEIGHT="{2 * (box[3] - box[1])}"><String CONTENT="{text[:1]}"/><SP/><String CONTENT="{text[1:]}"/>'
        '<HYP CONTENT="-"/></TextLine>'
        for text, box in BOXES.items()
    )
    xml = (
        '<alto xmlns="http://www.loc.gov/standards/alto/ns-v3#"><Description>'
        "<MeasurementUnit>mm10</MeasurementUnit><sourceImageInformation><fileName>/old/place/scan.tif</fileName>"
        "</sourceImageInformation></Description><Layout>"
        f'<Page WIDTH="{2 * WIDTH}" HEIGHT="{2 * HEIGHT}"><PrintSpace><TextBlock>{lines}</TextBlock></PrintSpace>'
        "</Page></Layout></alto>"
    )
    (folder / "scan.xml").write_text(xml, encoding="utf-8")
    return folder


def rows(folder: Path) -> Path:
    draw_page(folder / "images" / "a.png")
    row = {
        "image_info": [{"matched_text_index": 0, "image_url": "./images/a.png"}],
        "text_info": [{"text": "OCR:", "tag": "mask"}, {"text": "one", "tag": "no_mask"}],
    }
    (folder / "rows.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder / "rows.jsonl"


MAKERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "paddle recognition": (paddle_recognition, "paddle"),
    "paddle detection": (paddle_detection, "paddle"),
    "pairs": (pairs, "pairs"),
    "csv": (csv, "csv"),
    "tsv": (tsv, "csv"),
    "parquet": (parquet, "parquet"),
    "coco-text": (coco_text, "coco-text"),
    "icdar": (icdar, "icdar"),
    "pubtabnet": (pubtabnet, "pubtabnet"),
    "page": (page_xml, "page"),
    "alto": (alto, "alto"),
    "rows": (rows, "rows"),
}
"""What makes a source of each kind in a folder, and the format that it is."""
