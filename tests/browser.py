"""A headless chromium, spoken to by its DevTools protocol: what a page asks for, complains of, and looks like."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --remote-debugging-port=0 --remote-allow-origins=*"
).split()
SECONDS = 30


class Browser:
    """One tab. `events` are all messages of the protocol that were no answer, oldest first."""

    def __init__(self, address: str) -> None:
        from websocket import create_connection

        self._socket = create_connection(address, timeout=SECONDS)
        self._number = 0
        self.events: list[dict[str, Any]] = []
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends one command and returns its result."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._number:
                assert "error" not in message, message
                return dict(message["result"])
            self.events.append(message)

    def open(self, page: Path, *, width: int = 1280, height: int = 900) -> None:
        """Opens a file as a screen of `width` x `height` CSS pixels shows it, and waits until it is loaded."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self.send("Page.navigate", url=page.as_uri())
        until = time.monotonic() + SECONDS
        while self.value("document.readyState") != "complete":
            assert time.monotonic() < until, "the page does not load"
            time.sleep(0.05)

    def value(self, script: str) -> Any:
        """Returns what a JavaScript expression is in the page."""
        return self.send("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def requests(self) -> list[str]:
        """Returns the addresses that the page asked for."""
        sent = [each["params"]["request"]["url"] for each in self.named("Network.requestWillBeSent")]
        return [address for address in sent if not address.startswith("data:")]

    def complaints(self) -> list[dict[str, Any]]:
        """Returns what was written to the console, thrown, or blocked."""
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [event for kind in kinds for event in self.named(kind)]

    def named(self, method: str) -> list[dict[str, Any]]:
        """Returns the events of one kind."""
        return [event for event in self.events if event.get("method") == method]

    def pdf(self) -> bytes:
        """Returns the page as it prints, by its own size of paper."""
        return base64.b64decode(self.send("Page.printToPDF", preferCSSPageSize=True)["data"])

    def picture(self, path: Path) -> None:
        """Writes the whole page as a PNG."""
        shot = self.send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """Starts a chromium with its profile in `folder`, and ends it."""
    assert CHROMIUM is not None
    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder}", "about:blank"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = _port(folder / "DevToolsActivePort")
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=SECONDS) as answer:
            tab = next(each for each in json.load(answer) if each["type"] == "page")
        yield Browser(tab["webSocketDebuggerUrl"])
    finally:
        process.terminate()
        process.wait(SECONDS)


def _port(path: Path) -> int:
    """Waits for the port that the browser writes down once it listens."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        if path.exists() and path.read_text().strip():
            return int(path.read_text().split()[0])
        time.sleep(0.05)
    raise TimeoutError("chromium does not start")
