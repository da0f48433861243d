"""A headless Chromium that is told what to do by its own protocol, over a pipe: no library is needed."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_SECONDS = 60  # of a busy machine


class Browser:
    """One page in a browser of its own."""

    def __init__(self, folder: Path) -> None:
        to_it, mine = os.pipe()
        its, from_it = os.pipe()
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run")
        # The protocol is spoken on descriptors 3 and 4.
        start = ("bash", "-c", f'exec "$@" 3<&{to_it} 4>&{from_it}', "-", CHROMIUM, *flags)
        self._process = subprocess.Popen(
            [*start, f"--user-data-dir={folder}", "--disable-dev-shm-usage", "about:blank"],
            pass_fds=(to_it, from_it),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_it)
        os.close(from_it)
        self._to, self._from = os.fdopen(mine, "wb"), os.fdopen(its, "rb")
        self._number, self._session, self._rest = 0, None, b""
        self.complaints: list[str] = []  # of scripts, and of the policy of the page
        self.requests: list[str] = []  # addresses that were asked for
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._send(f"{domain}.enable")

    def open(self, url: str) -> None:
        self._send("Page.navigate", url=url)

    def value(self, script: str) -> Any:
        """Return what an expression is worth in the page."""
        found = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str) -> Any:
        """Return what an expression is worth in the page once it is something."""
        end = time.monotonic() + _SECONDS
        while not (value := self.value(script)):
            assert time.monotonic() < end, f"never: {script}\n{self.value('document.body.innerText')}"
            time.sleep(0.05)
        return value

    def type(self, text: str) -> None:
        """Type into what has the focus, as a keyboard does."""
        self._send("Input.insertText", text=text)

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot")["data"]))

    def narrow(self, width: int) -> None:
        """Show pages from now on as wide as that, in pixels."""
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False
        )

    def printed(self) -> bytes:
        """Return the page as PDF, on the paper that it asks for."""
        return base64.b64decode(self._send("Page.printToPDF", preferCSSPageSize=True)["data"])

    def close(self) -> None:
        self._to.close()
        self._process.terminate()
        self._process.wait()
        self._from.close()

    def _send(self, method: str, **given: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        self._to.write(json.dumps(message).encode() + b"\0")
        self._to.flush()
        while (heard := self._hear()).get("id") != self._number:
            if heard.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
                self.complaints.append(json.dumps(heard["params"]))
            if heard.get("method") == "Network.requestWillBeSent":
                self.requests.append(heard["params"]["request"]["url"])
        assert "error" not in heard, heard
        return heard["result"]

    def _hear(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._from.fileno(), 2**16)
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)
