"""A headless browser over its DevTools pipe, with the standard library alone: what a page logs, fetches and is."""

import contextlib
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

NAMES = ("chromium", "google-chrome", "chromium-browser", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def executable():
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page at a time; `events` are those since it was opened."""

    def __init__(self, pipe_in, pipe_out):
        self.out, self.into = pipe_out, pipe_in
        self.number, self.rest, self.events, self.session = 0, b"", [], None

    def open(self, file, *, width=1280, height=900, dark=False, print_=False):
        """Load a file and wait until it has been drawn."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.ask(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="print" if print_ else "", features=[scheme])
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.events = []
        self.ask("Page.navigate", url=Path(file).resolve().as_uri())
        self.until("Page.loadEventFired")
        self.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(1))))")
        return self

    def value(self, expression):
        """What a line of JavaScript gives, run by the browser's console and not by the page."""
        answer = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def complaints(self):
        """Everything on the console: errors, warnings, exceptions and what the browser itself logs."""
        names = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        return [json.dumps(e["params"]) for e in self.events if e["method"] in names]

    def requests(self):
        """Every address but those of the page itself and of data within it."""
        sent = [e["params"] for e in self.events if e["method"] == "Network.requestWillBeSent"]
        blocked = [e["params"] for e in self.events if e["method"] == "Network.loadingFailed"]
        own = self.value("location.href")
        urls = [e["request"]["url"] for e in sent]
        return [u for u in urls if u != own and not u.startswith("data:")] + [b["errorText"] for b in blocked]

    def ask(self, method, **params):
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        if self.session and not method.startswith("Target."):
            message["sessionId"] = self.session
        os.write(self.into, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def until(self, method):
        while not any(e.get("method") == method for e in self.events):
            self.events.append(self._next())

    def _next(self, *, limit=60):
        end = time.monotonic() + limit
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.out], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self.out, 1 << 16)
            assert piece, "the browser has gone"
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)


@contextlib.contextmanager
def browser():
    """A browser of its own, with a fresh profile; it ends with the block."""
    commands, answers = os.pipe(), os.pipe()
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (commands[0], answers[1])]

    def connect():
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [executable(), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=connect,  # noqa: PLW1509 - the pipe has to be 3 and 4, and no thread of ours holds a lock
            pass_fds=(3, 4),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for fd in (commands[0], answers[1], *high):
            os.close(fd)
        it = Browser(commands[1], answers[0])
        try:
            yield it
        finally:
            with contextlib.suppress(AssertionError, OSError):
                it.session = None
                it.ask("Browser.close")
            os.close(commands[1])
            os.close(answers[0])
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
