"""The page of a build, opened and clicked in a real browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.cli_runner import CliRunner
from tiffin.builder.report.page import MAX_PACKAGES, Page, ShownPackage

pytestmark = [pytest.mark.userns, pytest.mark.xdist_group("report")]
STAGES, STEPS = 6, 60
MAX_PAGE_BYTES = 1_500_000
DATA = re.compile(r'<script id="data" type="application/json">(.*?)</script>', re.S)
NAME = '<b>&"</script>'  # of a step, and so of a table's cell
PARTS = ("Timeline", "Graph", "Layers", "Lines", "Packages", "History")


def dockerfile() -> str:
    """Six stages with sixty steps: one waits for the others, one fails to be small."""
    lines = []
    for stage in range(STAGES - 1):
        lines += ["FROM minimal" if stage < 3 else "FROM stage0", f"AS stage{stage}"]
        lines[-2:] = [" ".join(lines[-2:])]
        lines += [f"RUN echo {stage} {number} > /f{stage}-{number}" for number in range(10)]
    lines += ["FROM minimal", f"RUN echo '{NAME}' > /odd && dd if=/dev/zero of=/waste bs=1M count=3", "RUN rm /waste"]
    lines += [f"COPY --from=stage{stage} /f{stage}-9 /from{stage}" for stage in range(STAGES - 1)]
    lines += ["COPY status /var/lib/dpkg/status", "COPY main.py /srv/", "RUN echo end > /end"]
    return "\n".join(lines) + "\n"


STATUS = "Package: busybox\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:1.35.0-4\n\n"


@pytest.fixture(scope="module")
def context(cli: CliRunner) -> Iterator[Path]:
    folder = cli.folder / "reported"
    folder.mkdir()
    (folder / "Dockerfile").write_text(dockerfile())
    (folder / "main.py").write_text("print(1)\n")
    (folder / "status").write_text(STATUS)
    cli.own(folder)
    yield folder
    shutil.rmtree(folder)


@contextmanager
def opened(page: Path) -> Iterator[Chrome]:
    """A page in Chromium, which has nothing to complain of at the end; its own files are in a folder that goes."""
    options = Options()
    options.binary_location = shutil.which("chromium") or ""
    for word in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,1000",
    ):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        service = Service(shutil.which("chromedriver"), env={**os.environ, "TMPDIR": place, "HOME": place})
        browser = Chrome(options=options, service=service)
        try:
            browser.get(page.as_uri())
            yield browser
            assert browser.get_log("browser") == []  # type: ignore[no-untyped-call]
        finally:
            browser.quit()


def data_of(page: Path) -> dict[str, Any]:
    found = DATA.search(page.read_text())
    assert found is not None
    document: dict[str, Any] = json.loads(found[1])
    return document


@pytest.fixture(scope="module")
def pages(cli: CliRunner, context: Path) -> list[Path]:
    """Of a first build, and of one after an edit."""
    made = []
    for name in ("first", "second"):
        page = cli.folder / f"{name}.html"
        done = cli.run("build", "-q", "-t", "reported", "--report", page, context)
        assert done.returncode == 0, done.stderr
        made.append(page)
        (context / "main.py").write_text("print(2)\n")
    return made


def test_its_numbers_are_those_of_the_records(cli: CliRunner, pages: list[Path]) -> None:
    for page, ref in zip(pages, ("^1", ""), strict=True):
        assert page.stat().st_size <= MAX_PAGE_BYTES
        record = json.loads(cli.run("buildx", "history", "inspect", "--format", "json", *filter(None, [ref])).stdout)
        events = [json.loads(line) for line in history_lines(cli, ref)]
        data = data_of(page)
        assert f"build {record['Ref'].rpartition('/')[2]} of Dockerfile" in data["subtitle"]
        seconds = {item["step_id"]: item["seconds"] for item in events if item["type"] == "step_finished"}
        assert {step["id"]: step["seconds"] for step in data["steps"] if step["status"] == "completed"} == seconds
        cached = {item["step_id"] for item in events if item["type"] == "step_cached"}
        assert {step["id"] for step in data["steps"] if step["status"] == "cached"} == cached
        image = json.loads(cli.run("image", "inspect", "reported").stdout)[0]
        if not ref:
            assert len(data["layers"]) == len(image["RootFS"]["Layers"])
    first, second = map(data_of, pages)
    assert len(first["steps"]) == STEPS
    (edited, end) = [step for step in second["steps"] if step["status"] == "completed"]
    assert edited["why"] == "miss, files: main.py changed" and end["why"] == "miss, what is below it changed"
    assert edited["before"] is not None and edited["before_status"] == "completed"
    assert [item["id"] for item in second["history"]][1:] == [first["history"][0]["id"]]
    waste = [
        layer["tree"]["wasted"] for layer in first["layers"] if "/waste" in layer["by"] and "rm" not in layer["by"]
    ]
    assert waste == [3 << 20]
    assert [(item["name"], item["type"]) for item in first["packages"]] == [("busybox", "deb")]


def history_lines(cli: CliRunner, ref: str) -> list[str]:
    words = ("buildx", "history", "logs", "--progress", "rawjson", *filter(None, [ref]))
    done = cli.run(*words)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("{")]


def test_it_is_clicked(cli: CliRunner, pages: list[Path]) -> None:
    with opened(pages[1]) as browser:
        assert tuple(tab.text for tab in browser.find_elements(By.CSS_SELECTOR, "[role=tab]")) == PARTS
        for name in PARTS:
            browser.find_element(By.ID, f"tab-{name}").click()
            part = browser.find_element(By.ID, f"part-{name}")
            assert part.is_displayed()
            if name != "Packages":
                assert part.find_elements(By.CSS_SELECTOR, "svg path"), name
        others = [item for item in PARTS if browser.find_element(By.ID, f"part-{item}").is_displayed()]
        assert others == ["History"]
        browser.find_element(By.ID, "tab-History").send_keys(Keys.ARROW_RIGHT)
        assert browser.switch_to.active_element.get_attribute("id") == "tab-Timeline"
        shown = browser.find_element(By.CSS_SELECTOR, "#part-Timeline tbody").text
        assert NAME in shown or "stage" in shown
        heading = browser.find_element(By.CSS_SELECTOR, "#part-Timeline th:nth-child(4) button")
        heading.click()
        heading.click()
        assert browser.find_element(By.CSS_SELECTOR, "#part-Timeline th:nth-child(4)").get_attribute("aria-sort") == (
            "descending"
        )
        theme = browser.find_element(By.TAG_NAME, "html").get_attribute("data-theme")
        browser.find_element(By.ID, "theme").click()
        assert browser.find_element(By.TAG_NAME, "html").get_attribute("data-theme") != theme
        browser.find_element(By.ID, "tab-Packages").click()
        search = browser.find_element(By.CSS_SELECTOR, "#part-Packages input")
        search.send_keys("nothing is called so")
        assert "0 packages" in browser.find_element(By.ID, "part-Packages").text


def test_packages_that_are_not_listed_are_counted(tmp_path: Path) -> None:
    packages = [
        ShownPackage(name=f"p{number}", version="1", type="deb", line="Dockerfile:1") for number in range(MAX_PACKAGES)
    ]
    for more in (0, 3):
        page = tmp_path / f"{more}.html"
        page.write_bytes(Page(title="t", subtitle="s", facts=[], packages=packages + packages[:more]).encode())
        with opened(page) as browser:
            told = [item.text for item in browser.find_elements(By.ID, "more-packages")]
            assert told == ([f"and 3 more: tiffin sbom lists all {MAX_PACKAGES + 3}"] if more else [])


def test_a_step_with_odd_signs_is_a_text(cli: CliRunner, pages: list[Path]) -> None:
    with opened(pages[0]) as browser:
        assert NAME in browser.find_element(By.CSS_SELECTOR, "#part-Timeline tbody").text
        assert len(browser.find_elements(By.CSS_SELECTOR, "#part-Timeline tbody tr")) == STEPS


def test_pages_of_what_was_built_before(cli: CliRunner, pages: list[Path]) -> None:
    assert cli.run("report", "-o", "again.html").stdout == "again.html\n"
    again, second = data_of(cli.folder / "again.html"), data_of(pages[1])
    assert again["layers"] == second["layers"] and again["facts"] == second["facts"]
    assert [step["seconds"] for step in again["steps"]] == [step["seconds"] for step in second["steps"]]
    assert cli.run("report", "-o", "image.html", "reported").returncode == 0
    assert data_of(cli.folder / "image.html")["steps"] == again["steps"]
    assert cli.run("report", "-o", "base.html", "minimal").returncode == 0
    base = data_of(cli.folder / "base.html")
    assert base["steps"] == [] and len(base["layers"]) == 1
    with opened(cli.folder / "base.html") as browser:
        assert [tab.text for tab in browser.find_elements(By.CSS_SELECTOR, "[role=tab]")] == ["Layers", "Lines"]
    to_stdout = cli.run("report", "-o", "-", "^1")
    assert to_stdout.stdout.startswith("<!doctype html>")


def test_a_build_that_fails_has_a_page(cli: CliRunner, context: Path) -> None:
    page = cli.folder / "failed.html"
    (context / "failing").write_text("FROM minimal\nRUN echo one\nRUN exit 7\n")
    done = cli.run("build", "--report", page, "-f", context / "failing", context)
    assert done.returncode == 1 and "exit code: 7" in done.stderr
    data = data_of(page)
    assert [step["status"] for step in data["steps"]] == ["completed", "error"]
    assert data["facts"][0][0] == "Result" and "exit code: 7" in data["facts"][0][1]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["report", "^90"], "no build record ^90"),
        (["report", "127.0.0.1:1/nosuch"], "no build and no image here is called 127.0.0.1:1/nosuch"),
        (["report", "-o", "/nosuch/page.html"], "/nosuch/page.html"),
        (["build", "--report", ".", "."], "is a directory"),
    ],
)
def test_what_is_wrong_is_told(cli: CliRunner, pages: list[Path], words: list[str], reason: str) -> None:
    done = cli.run(*words)
    assert done.returncode not in (0, os.EX_SOFTWARE) and reason in done.stderr
