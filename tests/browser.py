"""A browser for tests: opens pages, evaluates JavaScript in them, and hears their errors.

`visit` starts Chromium in a process of its own: Qt's (PySide6, the extra `browser`), else an
installed chromium with its chromedriver through selenium. Where there is neither, `engine` skips
the test and says so.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

SECONDS = 60.0  # for one page to load, and for one expression
# window.__answer becomes JSON with the value of an expression, awaited where it is a promise
ASK = """window.__answer = "";
(async () => ({}))().then(
    value => {{ window.__answer = JSON.stringify({{value: value === undefined ? null : value}}); }},
    error => {{ window.__answer = JSON.stringify({{error: String(error)}}); }});
0"""


def recipe(target: str, output: Path) -> list[str]:
    """The last command of a target of the Makefile, by this interpreter, with another output."""
    text = (Path(__file__).parents[1] / "Makefile").read_text("utf-8")
    lines = text.split(f"\n{target}: ")[1].split("\n\n")[0].splitlines()
    words = lines[-1].removeprefix("\t$(BIN)/python ").split()
    return [sys.executable, *words[:-1], str(output)]


def engine() -> str:
    """Name of the browser that there is; otherwise the test is skipped."""
    if importlib.util.find_spec("PySide6") is not None:
        return "qt"
    if importlib.util.find_spec("selenium") and shutil.which("chromedriver") and _chromium():
        return "selenium"
    pytest.skip("neither PySide6 (pip install mirrorflow[browser]) nor chromium is installed")


def visit(
    url: str,
    expressions: list[str] | tuple[str, ...] = (),
    width: int = 1200,
    height: int = 900,
    picture: Path | None = None,
    dark: bool = False,
) -> tuple[list[Any], list[str]]:
    """Open one page and evaluate expressions in it, one after the other.

    An expression may be a promise (`await` is allowed): its value is waited for.
    Returns the values, and the errors and warnings of the console. `picture` is a PNG file for a
    screenshot taken at the end.
    """
    (answer,) = visits([(url, expressions)], width, height, picture, dark)
    return answer


def visits(
    pages: list[tuple[str, list[str] | tuple[str, ...]]],
    width: int = 1200,
    height: int = 900,
    picture: Path | None = None,
    dark: bool = False,
) -> list[tuple[list[Any], list[str]]]:
    """As `visit`, for several pages (address, expressions) in one process."""
    task = {
        "engine": engine(),
        "pages": [[url, list(expressions)] for url, expressions in pages],
        "width": width,
        "height": height,
        "picture": None if picture is None else str(picture),
        "dark": dark,
    }
    flags = "--no-sandbox --disable-gpu --force-device-scale-factor=1"
    flags += f" --blink-settings=preferredColorScheme={0 if dark else 1}"
    done = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(task),
        capture_output=True,
        text=True,
        timeout=SECONDS * (1 + sum(1 + len(expressions) for _, expressions in pages)),
        env={
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "QTWEBENGINE_CHROMIUM_FLAGS": flags,
            "QTWEBENGINE_DISABLE_SANDBOX": "1",
        },
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(values, errors) for values, errors in json.loads(done.stdout.splitlines()[-1])]


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder of pages, served on loopback at a free port."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nothing: the errors that count are those of the page."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


# ---- in the process of the browser


def _chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _value(answer: str, expression: str) -> Any:
    found = json.loads(answer)
    if "error" in found:
        raise RuntimeError(f"{expression}: {found['error']}")
    return found["value"]


def _qt(task: dict[str, Any]) -> list[tuple[list[Any], list[str]]]:
    from PySide6.QtCore import QEventLoop, QTimer, QUrl
    from PySide6.QtWebEngineCore import QWebEnginePage, QWebEngineProfile
    from PySide6.QtWebEngineWidgets import QWebEngineView
    from PySide6.QtWidgets import QApplication

    _application = QApplication([])  # lives until the end of the process
    errors: list[str] = []

    class Page(QWebEnginePage):
        def javaScriptConsoleMessage(self, level, message, line, source):
            if level != QWebEnginePage.JavaScriptConsoleMessageLevel.InfoMessageLevel:
                errors.append(f"{source}:{line}: {message}")

    def wait(milliseconds: int) -> None:
        loop = QEventLoop()
        QTimer.singleShot(milliseconds, loop.quit)
        loop.exec()

    def evaluate(code: str) -> Any:
        loop, found = QEventLoop(), []
        page.runJavaScript(code, lambda value: (found.append(value), loop.quit()))
        QTimer.singleShot(int(1000 * SECONDS), loop.quit)
        if not found:
            loop.exec()
        return found[0] if found else None

    profile = QWebEngineProfile()  # nothing kept
    page, view = Page(profile), QWebEngineView()
    view.setPage(page)
    view.resize(task["width"], task["height"])
    view.show()
    answers = []
    for url, expressions in task["pages"]:
        errors.clear()
        loop, loaded = QEventLoop(), []
        finished = page.loadFinished.connect(lambda ok: (loaded.append(ok), loop.quit()))  # noqa: B023
        page.load(QUrl(url))
        QTimer.singleShot(int(1000 * SECONDS), loop.quit)
        loop.exec()
        page.loadFinished.disconnect(finished)
        if loaded != [True]:
            errors.append(f"{url} could not be loaded")
        values = []
        for expression in expressions:
            evaluate(ASK.format(expression))
            end, answer = time.monotonic() + SECONDS, ""
            while not answer and time.monotonic() < end:
                answer = evaluate("window.__answer")
                wait(5)
            if answer is None:
                raise TimeoutError(f"{expression}: no value after {SECONDS:g} s")
            values.append(_value(answer, expression))
        wait(50)  # what the page still has to say
        answers.append((values, list(errors)))
    if task["picture"]:
        wait(500)
        view.grab().save(task["picture"])
    return answers


def _selenium(task: dict[str, Any]) -> list[tuple[list[Any], list[str]]]:
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = _chromium()
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"]
    flags += ["disable-background-networking", "disable-component-update", "disable-sync"]
    flags += [f"window-size={task['width']},{task['height']}", "force-device-scale-factor=1"]
    flags += [f"blink-settings=preferredColorScheme={0 if task['dark'] else 1}"]
    with tempfile.TemporaryDirectory() as profile:
        for flag in [*flags, f"user-data-dir={profile}"]:
            options.add_argument(f"--{flag}")
        browser = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        browser.set_page_load_timeout(SECONDS)
        browser.set_script_timeout(SECONDS)
        try:
            answers = []
            for url, expressions in task["pages"]:
                browser.get(url)
                values = []
                for expression in expressions:
                    waiting = "; const done = arguments[0]; const look = () => window.__answer "
                    waiting += "? done(window.__answer) : setTimeout(look, 5); look();"
                    answer = browser.execute_async_script(ASK.format(expression) + waiting)
                    values.append(_value(answer, expression))
                time.sleep(0.05)
                log = browser.get_log("browser")
                bad = [e["message"] for e in log if e["level"] in ("SEVERE", "WARNING")]
                answers.append((values, bad))
            if task["picture"]:
                browser.save_screenshot(task["picture"])
        finally:
            browser.quit()
    return answers


if __name__ == "__main__":
    request = json.load(sys.stdin)
    found = (_qt if request["engine"] == "qt" else _selenium)(request)
    print(json.dumps(found), flush=True)
    os._exit(0)  # Qt's own end of the process may wait for its helpers
