"""A headless Chromium that tells what a page wrote to its console and asked the network for."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
LOOKS = 400  # at the console, for its last message
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


@dataclass(frozen=True)
class Visit:
    """What a page did: messages of its console that are no mere information, and addresses that it asked for."""

    console: list[str]
    requests: list[str]

    @property
    def faults(self) -> list[str]:
        """All that a report must not do."""
        return self.console + self.requests


class Browser:
    """A driver, and how to visit a file with it and look at what happened since."""

    def __init__(self, driver):
        self.driver, self.page = driver, ""

    def visit(self, path: Path, width: int = 1200, dark: bool = False) -> Visit:
        """Open a file, in a window of a width in pixels, light or dark."""
        command = self.driver.execute_cdp_cmd
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        command("Emulation.setDeviceMetricsOverride", size)
        wanted = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        still = {"name": "prefers-reduced-motion", "value": "reduce"}  # no smooth scrolling under a click
        command("Emulation.setEmulatedMedia", {"features": [wanted, still]})
        self.driver.get("about:blank")
        self.since()
        self.page = path.resolve().as_uri()
        self.driver.get(self.page)
        return self.since()

    def since(self) -> Visit:
        """What happened since the last look."""
        console = [f"{e['level']}: {e['message']}" for e in self._messages() if e["level"] != "INFO"]
        asked = []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                asked.append(message["params"]["request"]["url"])
        own = ("data:", "about:")
        return Visit(console, [u for u in asked if not u.startswith(own) and u.partition("#")[0] != self.page])

    def _messages(self) -> list[dict]:
        """All messages of the console up to now. They arrive late on a busy machine, but in order: a last one is waited
        for."""
        found, mark = [], f"mark {time.monotonic_ns()}"
        self.run("console.info(arguments[0])", mark)
        for _ in range(LOOKS):
            found += self.driver.get_log("browser")
            if any(mark in e["message"] for e in found):
                return found
            time.sleep(0.05)
        raise TimeoutError(f"the console did not show its last message in {0.05 * LOOKS:.0f} s")

    def run(self, script: str, *arguments):
        """The value of a script's return."""
        return self.driver.execute_script(script, *arguments)


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A Chromium with a profile of its own in an empty folder; closed at the end."""
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
