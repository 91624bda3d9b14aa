"""The preview in a real browser: its one script runs under its own policy, and nothing that a target says does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from data.small_datasets import TABLE, dataset, messages
from ocrvl_modal.data.checking.demands import Demands
from ocrvl_modal.data.previewing.page import write_preview
from ocrvl_modal.models import FAMILY

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")]

POLICY = re.compile(r'<meta http-equiv="Content-Security-Policy"[^>]*>')
DRIVER = """<script>addEventListener("load", () => {
  const said = [];
  const shown = () => said.push(document.getElementById("shown").textContent);
  const press = (key) => document.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  const here = () => said.push(document.querySelector(".here").id);
  document.querySelector("#tasks button:last-child").click(); shown();
  press("Escape"); shown();
  document.querySelector("#kinds button").click(); shown();
  press("Escape");
  press("j"); here(); press("n"); here(); press("k"); here();
  press("s"); said.push(document.documentElement.className);
  press("z"); said.push(document.querySelector(".large").id);
  document.getElementById("search").value = "ROW 7";
  document.getElementById("search").dispatchEvent(new Event("input"));
  setTimeout(() => {
    shown(); said.push("alerts " + (window.alerts || 0)); document.body.dataset.said = said.join("; ");
  }, 300);
});</script>"""


def dom_of(page: Path) -> str:
    arguments = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=4000", "--dump-dom"]
    done = subprocess.run(
        [str(CHROMIUM), *arguments, page.as_uri()], capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout


@pytest.fixture
def page(tmp_path: Path) -> Path:
    rows = [messages(f"{number % 5}.png", f"row {number}") for number in range(30)]
    rows[:8] = [messages("0.png", f"<fcel>row {number}<nl>", TABLE) for number in range(8)]
    rows[10] = messages("3.png", "</script><script>window.alerts = 1</script><img src=x onerror='window.alerts = 1'>")
    rows[20] = messages("1.png", "row 20", "ocr:")
    path = dataset(tmp_path / "all.jsonl", rows)
    member = FAMILY["paddleocr-vl-1.6"]
    return write_preview(
        path, tmp_path / "page.html", Demands(tuple(member.prompts.values()), member.pixels, 4096)
    ).page


def test_its_script_runs_under_its_policy(page: Path) -> None:
    dom = dom_of(page)
    assert '<output id="shown" class="shown">30 samples</output>' in dom
    assert re.search(r'<button type="button" aria-pressed="false">text<span class="count">21</span>', dom)


def test_filters_keys_and_search_work_and_targets_do_nothing(page: Path) -> None:
    free = page.with_name("free.html")
    text = POLICY.sub("", page.read_text(encoding="utf-8"))
    free.write_text(text.replace("</body>", DRIVER + "</body>"), encoding="utf-8")
    said = re.search(r'data-said="([^"]*)"', dom_of(free))
    assert said is not None
    all_of_them, one = "30 samples", "1 of 30 samples"
    walked = ["line-1", "line-21", "line-20"]
    assert said[1].split("; ") == [one, all_of_them, one, *walked, "as-written", "line-20", one, "alerts 0"]
