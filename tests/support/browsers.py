"""Pages in a browser, which must ask for nothing and complain of nothing."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager

import pytest


@contextmanager
def launched():
    """Start Chromium, or skip the test where it is missing."""
    playwright = pytest.importorskip("playwright.sync_api")
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    if binary is None:
        assert os.environ.get("CI") != "true", "CI needs Chromium; .ci/run installs it"
        pytest.skip("needs Chromium: apt-get install chromium")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=binary, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def opened(browser, path, loads=1, **options):
    """Open a page, and make sure that it asks for nothing and complains of nothing.

    Arguments:
        browser: the browser.
        path: the path of the page.
        loads: how often it is loaded meanwhile, with this time.
        options: of the browser's context.
    """
    complaints, requests = [], []
    context = browser.new_context(**options)
    page = context.new_page()
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(path.as_uri())
    page.wait_for_selector("body[data-drawn=yes]", timeout=30_000)
    yield page
    assert complaints == []
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()] * loads
    context.close()
