"""The gallery: what the page holds, and how it behaves in a browser (left out where there is no chromium)."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import make_scan
from PIL import Image
from test_viewer import four, maps_of, viewed

from bonescan_utils.pictures import darkest
from bonescan_utils.viewer import ViewedScan, write_gallery
from bonescan_utils.viewer.pixels import Window, grey, root_levels

NASTY = '</script><img src=x onerror="document.title=1"> & "quoted"'
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def scans() -> list[ViewedScan]:
    """Return five scans of one arm, two of another, and one whose texts try to break the page."""
    odd = make_scan("s0009")
    odd_scan = ViewedScan(type(odd)(NASTY, None, odd.posterior), "proposed", 1, 0.35, 0.5, NASTY, {}, None)
    other = [viewed("s0003", 0, 0.3, arm="vgg16"), viewed("s0002", 1, 0.6, arm="vgg16")]
    return [*four(), viewed("s0005", 1, 0.7), odd_scan, *other]


class Blocks(HTMLParser):
    """The elements of a page that hold data, by id; and all tags that it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: dict[str, Any] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = dict(attrs).get("id") or "" if tag == "script" else ""

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.found[self.inside] = json.loads(data)
            self.inside = ""


def decoded(address: str) -> np.ndarray:
    """Return a picture that an address holds, as grey levels."""
    data = base64.b64decode(address.partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"))


# --------------------------------------------------------------------------------------------- what it holds
def test_the_page_holds_each_scan_once_and_each_judgement(tmp_path: Path) -> None:
    page = write_gallery(tmp_path / "gallery.html", iter(scans()))
    found = Blocks(page.read_text()).found
    entries = found["gallery"]["entries"]
    assert [(entry["id"], entry["arm"]) for entry in entries] == [(scan.scan_id, scan.arm) for scan in scans()]
    assert sum(name.startswith("scan-") for name in found) == 6 and entries[6]["counts"] == entries[2]["counts"]
    assert found["gallery"]["arms"] == {"proposed": "Proposed", "vgg16": "VGG16"}
    assert entries[5]["id"] == NASTY and entries[5]["raw_max"] == {}


def test_counts_and_maps_come_back_from_the_page(tmp_path: Path) -> None:
    (scan,) = four()[:1]
    found = Blocks(write_gallery(tmp_path / "gallery.html", [scan]).read_text()).found
    for view, counts in scan.counts.items():
        stored = found["scan-0"]["views"][view]
        levels, per_root = root_levels(counts)
        assert (decoded(stored["src"]) == levels).all() and stored["per_root"] == per_root
        small = decoded(found["maps-0"]["gradcam"][view]).astype(int)
        expected = 255 * scan.map_by_view("gradcam")[view].reshape(32, 4, 8, 4).mean(axis=(1, 3))
        assert np.abs(small - expected).max() <= 0.06 * 255
    assert found["scan-0"]["black"] == darkest(scan.counts) and found["scan-0"]["known"]


def test_nothing_on_the_page_comes_from_elsewhere(tmp_path: Path) -> None:
    text = write_gallery(tmp_path / "gallery.html", scans(), title=NASTY, note=NASTY, home="index.html").read_text()
    tags = Blocks(text).tags
    assert [tag for tag, _ in tags].count("img") == 0
    addresses = [given for _, attrs in tags for given in (attrs.get("src"), attrs.get("href")) if given]
    assert addresses == ["index.html"]
    assert not [name for _, attrs in tags for name in attrs if name.startswith("on") or name == "style"]
    (policy,) = (attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy and "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_a_page_without_scans_and_a_scan_given_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="give at least one ViewedScan"):
        write_gallery(tmp_path / "gallery.html", [])
    with pytest.raises(ValueError, match="scan s0001 of arm 'proposed' is given twice"):
        write_gallery(tmp_path / "gallery.html", [viewed("s0001", 1, 0.9)] * 2)
    assert not list(tmp_path.iterdir())


def test_two_hundred_scans_stay_below_thirty_megabytes(tmp_path: Path) -> None:
    """One scan of the size and the counts of a usual one, with three maps, takes less than its share."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[-1:1:1024j, -1:1:256j]
    expected = np.where((y / 0.85) ** 2 + (x / 0.75) ** 2 < 1, 10.0, 0.3)  # 1.5 million counts a view
    base = make_scan(rows=1024, columns=256)
    counts = [rng.poisson(expected).astype(np.uint16) for _ in range(2)]
    views = [
        type(view)(view.name, array, view.pixel_mm, "file") for view, array in zip(base.views, counts, strict=True)
    ]
    scan = type(base)("s1", *views)
    one = ViewedScan(scan, "proposed", 1, 0.9, 0.5, maps={name: maps_of(scan) for name in "abc"})
    empty = write_gallery(tmp_path / "empty.html", four()[:1]).stat().st_size
    assert sum(array.sum() for array in counts) > 2_500_000
    assert 200 * (write_gallery(tmp_path / "one.html", [one]).stat().st_size - empty) < 30e6


# ---------------------------------------------------------------------------------------------- in a browser
class Browser:
    """A headless chromium with one tab, driven through its DevTools protocol."""

    FLAGS = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
        " --disable-component-update --disable-sync --remote-debugging-port=0 --remote-allow-origins=*"
        " --window-size=1300,900"
    ).split()

    def __init__(self, profile: Path) -> None:
        websocket = pytest.importorskip("websocket")
        command = [str(CHROMIUM), *self.FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.events: list[dict[str, Any]] = []
        self.sent = 0
        port = self._wait(lambda: (profile / "DevToolsActivePort").read_text().split()[0])
        tab = self._wait(lambda: self._tab(port))
        self.socket = websocket.create_connection(tab, timeout=60)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    @staticmethod
    def _tab(port: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            return next(tab["webSocketDebuggerUrl"] for tab in json.load(answer) if tab["type"] == "page")

    @staticmethod
    def _wait(look: Any) -> Any:
        end = time.monotonic() + 60
        while True:
            try:
                return look()
            except (OSError, IndexError, StopIteration):
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile are kept."""
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.sent:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def js(self, expression: str) -> Any:
        """Return the value of an expression on the page."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str, expected: Any) -> None:
        """Wait for an expression to have a value."""
        end = time.monotonic() + 20
        while (found := self.js(expression)) != expected:
            assert time.monotonic() < end, f"{expression}: {found!r}, expected {expected!r}"
            time.sleep(0.03)

    def open(self, page: Path, *, width: int = 1300, height: int = 850) -> None:
        """Open a page afresh on a screen of a size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self.call("Page.navigate", url="about:blank")
        self.until("location.href", "about:blank")
        self.call("Page.navigate", url=page.as_uri())
        self.until("document.readyState === 'complete' && location.protocol === 'file:'", True)

    def key(self, key: str) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def close(self) -> None:
        """End the browser."""
        self.socket.close()
        self.process.terminate()
        self.process.wait(30)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser for all tests of this file."""
    if CHROMIUM is None or os.name != "posix":
        pytest.skip("no chromium on this machine")
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of `scans`."""
    return write_gallery(tmp_path_factory.mktemp("page") / "gallery.html", scans(), title=NASTY, note="A note.")


CARDS = "[...document.querySelectorAll('.card')].map((one) => one.dataset.scan)"
SHOWN = "document.querySelector('#stage').dataset.scan"
COUNTS = "document.querySelector('[data-view=\"anterior\"] canvas')"
SALIENCY = "document.querySelectorAll('[data-view=\"anterior\"] canvas')[1]"
PIXELS = "[...{0}.getContext('2d').getImageData(0, 0, {0}.width, {0}.height).data]"


def choose(browser: Browser, name: str, value: str) -> None:
    """Choose an option of a drop-down list."""
    change(browser, name, value, event="change")


def change(browser: Browser, name: str, value: str | int, *, event: str) -> None:
    """Give an element of a form a value, as its user would."""
    element = f"const one = document.getElementById('{name}')"
    browser.js(f"{{{element}; one.value = {value!r}; one.dispatchEvent(new Event('{event}'))}}")


def test_the_list_filters_and_sorts(browser: Browser, page: Path) -> None:
    browser.open(page)
    by_score = ["s0001", "s0003", "s0005", NASTY, "s0002", "s0004"]
    browser.until(CARDS, by_score)
    choose(browser, "sort", "up")
    browser.until(CARDS, by_score[::-1])
    choose(browser, "sort", "near")
    browser.until(CARDS, [NASTY, "s0005", "s0002", "s0003", "s0001", "s0004"])
    choose(browser, "sort", "id")
    browser.until(CARDS, [NASTY, "s0001", "s0002", "s0003", "s0004", "s0005"])
    choose(browser, "primary", "prostate")
    browser.until(CARDS, ["s0002", "s0004"])
    choose(browser, "primary", "")
    browser.js("document.querySelector('#outcomes [data-outcome=\"Hit\"]').click()")
    browser.until(CARDS, [NASTY, "s0002", "s0003", "s0004"])
    browser.until("document.getElementById('count').textContent", "4 of 6 scans")
    texts = "[...document.querySelectorAll('#outcomes button')].map((one) => one.textContent)"
    assert browser.js(texts) == ["Hit 2", "Miss 2", "False alarm 1", "Correct rejection 1"]
    choose(browser, "arm", "vgg16")
    browser.until(CARDS, ["s0003"])
    browser.js("document.querySelectorAll('#outcomes [aria-pressed=\"true\"]').forEach((one) => one.click())")
    browser.until("document.getElementById('nothing').hidden", False)
    browser.until(CARDS, [])


def test_the_keyboard_moves_and_switches(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.until(SHOWN, "s0001")
    visited = []
    for key in ("j", "ArrowRight", "k", "ArrowLeft", "ArrowUp", "2", "4", "3", "1"):
        browser.key(key)
        visited.append(browser.js(SHOWN))
    assert visited == ["s0003", "s0005", "s0003", "s0001", "s0004", NASTY, "s0004", "s0003", "s0005"]
    browser.until(f"{SALIENCY}.hidden", False)
    for key, expression, values in (
        ("o", f"{SALIENCY}.hidden", (True, False)),
        ("t", "document.querySelector('[data-view=\"anterior\"] svg').hasAttribute('hidden')", (True, False)),
        ("c", "document.getElementById('common').getAttribute('aria-pressed')", ("true", "false")),
        ("s", "document.getElementById('method').value", ("layercam", "gradcam")),
        ("a", "document.getElementById('arm').value", ("vgg16", "proposed")),
    ):
        for value in values:
            browser.key(key)
            browser.until(expression, value)
    browser.key("?")
    browser.until("document.getElementById('help').open", True)
    before = browser.js(SHOWN)
    browser.key("j")
    assert browser.js(SHOWN) == before


def test_a_click_opens_a_scan_and_the_overlay_shows_its_map(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("document.querySelector('.card[data-scan=\"s0005\"]').click()")
    browser.until(SHOWN, "s0005")
    browser.until(f"{SALIENCY}.width", 8)
    alpha = np.array(browser.js(PIXELS.format(SALIENCY))).reshape(32, 8, 4)[..., 3]
    assert (alpha[9:11, 3:5] > 240).all() and alpha[:7].max() < 70 and alpha[14:].max() < 70
    browser.js("document.getElementById('overlay').click()")
    browser.until(f"getComputedStyle({SALIENCY}).display", "none")
    path = "document.querySelector('[data-view=\"anterior\"] path').getAttribute('d')"
    assert browser.js(path) == "M10 60H15M10 66H15M10 60V66M15 60V66"
    choose(browser, "method", "layercam")
    browser.until("document.getElementById('raw').textContent", "maximum 5.00 logits")


def test_the_window_shows_the_counts_as_python_does(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.until(SHOWN, "s0001")
    counts = four()[0].counts["anterior"]
    levels, per_root = root_levels(counts)
    stored = (levels / per_root) ** 2
    for white, black in ((0, round(darkest(four()[0].counts))), (20, 90)):
        if white:
            for name, value in (("white", white), ("black", black)):
                change(browser, name, value, event="input")
        browser.until("document.getElementById('levels').textContent", f"{white} to {black} counts")
        expected = grey(stored, Window(white, black)).astype(int)
        shown = np.zeros(1)
        for _ in range(100):
            shown = np.array(browser.js(PIXELS.format(COUNTS)))
            if shown.size == 4 * counts.size and np.abs(shown.reshape(128, 32, 4)[..., 0] - expected).max() <= 1:
                break
            time.sleep(0.05)
        assert np.abs(shown.reshape(128, 32, 4)[..., 0] - expected).max() <= 1


def test_a_scan_with_one_view_and_without_truth_or_map_says_so(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.js("document.querySelectorAll('.card')[3].click()")
    browser.until(SHOWN, NASTY)
    browser.until("document.querySelector('[data-view=\"anterior\"]').hidden", True)
    assert browser.js("document.getElementById('truth').disabled") is True
    browser.until("document.getElementById('raw').textContent", "no map of this scan")
    assert browser.js("document.getElementById('name').textContent") == NASTY
    assert browser.js("document.querySelectorAll('img').length") == 0 and browser.js("document.title") == NASTY


def test_a_phone_shows_the_list_then_one_scan(browser: Browser, page: Path) -> None:
    browser.open(page, width=390, height=844)
    browser.until("document.querySelectorAll('.card').length", 6)
    assert browser.js("document.getElementById('stage').hidden") is True
    assert browser.js("document.documentElement.scrollWidth") <= 390
    browser.js("document.querySelector('.card').click()")
    browser.until("document.getElementById('stage').hidden", False)
    right = "Math.max(...[...document.querySelectorAll('#stage *')].map((one) => one.getBoundingClientRect().right))"
    assert browser.js(right) <= 390
    boxes = "['films', 'controls'].map((name) => document.getElementById(name).getBoundingClientRect())"
    assert browser.js(f"(([films, controls]) => films.height > 300 && films.bottom <= controls.top)({boxes})") is True
    browser.js("document.getElementById('close').click()")
    browser.until("document.getElementById('stage').hidden", True)


def test_the_page_asks_for_nothing_and_breaks_no_rule(browser: Browser, page: Path) -> None:
    browser.events.clear()
    browser.open(page)
    browser.until(SHOWN, "s0001")
    browser.key("j")
    browser.js("document.getElementById('help').open")
    asked = [
        event["params"]["request"]["url"] for event in browser.events if event["method"] == "Network.requestWillBeSent"
    ]
    assert {re.split(r"[:?#]", url)[0] for url in asked} <= {"file", "data", "about"}
    faults = [event for event in browser.events if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded")]
    assert faults == []
    script = "const one = document.createElement('script'); one.textContent = 'document.title = 1'"
    listen = "addEventListener('securitypolicyviolation', () => done('blocked'))"
    assert browser.js(f"new Promise((done) => {{{listen}; {script}; document.body.append(one)}})") == "blocked"
