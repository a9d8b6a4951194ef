"""A headless Chromium, driven by its DevTools protocol over two pipes: no port, no driver."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_NAMES = ("chromium", "google-chrome-stable", "google-chrome", "chromium-browser")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
DEADLINE = 60.0  # seconds, for each answer
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
)
# What the protocol wants to know of a key: its code, the virtual one, the text it makes.
KEYS = {
    "Enter": (13, "\r"),
    "Escape": (27, ""),
    "Tab": (9, ""),
    "Home": (36, ""),
    "End": (35, ""),
    "ArrowLeft": (37, ""),
    "ArrowUp": (38, ""),
    "ArrowRight": (39, ""),
    "ArrowDown": (40, ""),
}


class Browser:
    """One page.  ``events`` are what the browser told of it, by method and parameters."""

    def __init__(self, to: int, origin: int) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._to, self._from = to, origin
        self._read = b""
        self._count = 0
        self._session: str | None = None
        target = self.cdp("Target.createTarget", url="about:blank")["targetId"]
        attached = self.cdp("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.cdp(f"{domain}.enable")

    def open(self, page: Path, fragment: str = "") -> None:
        """Load ``page`` from disk anew, and wait until it has drawn itself."""
        self.cdp("Page.navigate", url="about:blank")
        wait(lambda: self.run("location.href") == "about:blank", "the old page stays")
        failed = self.cdp("Page.navigate", url=page.as_uri() + fragment).get("errorText")
        assert not failed, failed
        self.until("document.documentElement?.dataset.ready !== undefined")

    def run(self, script: str) -> Any:
        """The value of an expression in the page; promises are waited for."""
        done = self.cdp(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def until(self, script: str) -> Any:
        return wait(lambda: self.run(script), f"never became true: {script}")

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of the first such element."""
        x, y = self.run(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{ block: 'center', inline: 'center' }});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            button = "none" if kind == "mouseMoved" else "left"
            self.cdp("Input.dispatchMouseEvent", type=kind, x=x, y=y, button=button, clickCount=1)

    def press(self, *keys: str) -> None:
        """Real key presses, to whatever has the focus."""
        for key in keys:
            code, text = KEYS.get(key, (ord(key[0].upper()), key))
            said = {"key": key, "windowsVirtualKeyCode": code}
            self.cdp("Input.dispatchKeyEvent", type="keyDown", text=text, **said)
            self.cdp("Input.dispatchKeyEvent", type="keyUp", **said)

    def look(self, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Another size of the window, another colour scheme."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])

    def shoot(self, path: Path) -> None:
        """A picture of the window."""
        path.write_bytes(base64.b64decode(self.cdp("Page.captureScreenshot")["data"]))

    def complaints(self) -> list[str]:
        """What was written to the console, and what was thrown, so far."""
        found = []
        for method, told in self._told():
            if method == "Log.entryAdded":
                found.append(told["entry"]["text"])
            elif method == "Runtime.consoleAPICalled":
                found.append(str(told["args"]))
            elif method == "Runtime.exceptionThrown":
                found.append(str(told["exceptionDetails"]))
        return found

    def requested(self) -> list[str]:
        """Every address that the page asked for so far."""
        return [
            told["request"]["url"]
            for method, told in self._told()
            if method == "Network.requestWillBeSent"
        ]

    def _told(self) -> list[tuple[str, dict[str, Any]]]:
        self.run("0")  # what was told before its answer is read by now
        return self.events

    def cdp(self, method: str, **parameters: Any) -> Any:
        """Send a command and give its result."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            command["sessionId"] = self._session
        text = json.dumps(command).encode() + b"\0"
        while text:
            text = text[os.write(self._to, text) :]
        deadline = time.monotonic() + DEADLINE
        while True:
            message = self._message(deadline, method)
            if message.get("id") == self._count:
                assert "error" not in message, f"{method}: {message['error']}"
                return message["result"]
            if "method" in message:
                self.events.append((message["method"], message["params"]))

    def _message(self, deadline: float, what: str) -> dict[str, Any]:
        while b"\0" not in self._read:
            left = max(0.0, deadline - time.monotonic())
            ready, _, _ = select.select([self._from], [], [], left)
            chunk = os.read(self._from, 1 << 20) if ready else b""
            assert chunk, f"{what}: no answer from the browser"
            self._read += chunk
        text, _, self._read = self._read.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message


def wait(question: Callable[[], Any], complaint: str, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)
    return answer


def _pipe() -> tuple[int, int]:
    """A pipe whose ends are none of the low descriptors, which the shell gives away."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


@contextmanager
def chromium(folder: Path) -> Iterator[Browser]:
    """A browser whose profile is new, in ``folder``; it ends with the block."""
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}"]
    if os.geteuid() == 0:
        command.append("--no-sandbox")  # Chromium refuses to be root without
    (their_in, our_out), (our_in, their_out) = _pipe(), _pipe()
    with (folder / "chromium.log").open("wb") as log:
        # The protocol wants descriptors 3 and 4, whatever these happen to be here.
        shell = f'exec "$@" 3<&{their_in} 4>&{their_out}'
        process = subprocess.Popen(
            ["bash", "-c", shell, "chromium", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"HOME": str(folder)},
            pass_fds=(their_in, their_out),
            start_new_session=True,
        )
    os.close(their_in)
    os.close(their_out)
    try:
        yield Browser(our_out, our_in)
    finally:
        with suppress(ProcessLookupError):  # its whole session: Chromium is many processes
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)
        os.close(our_out)
        os.close(our_in)
