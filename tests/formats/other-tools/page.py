"""Drives the page that verifies releases in Debian's Chromium, as a person would: chooses files, fills in the pin, clicks.

page.py PAGE CASES reads a list of cases (JSON) and prints what the page said of each, as a list in the same order. It
speaks the WebDriver protocol (W3C) with chromedriver over the loopback and needs no package.
"""

import json
import re
import subprocess
import sys
import tempfile
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]


class Browser:
    def __init__(self, profile):
        command = ["chromedriver", "--port=0"]
        self.driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for line in self.driver.stdout:
            if found := re.search(r"started successfully on port (\d+)", line):
                self.base = f"http://127.0.0.1:{found[1]}"
                break
        options = {"binary": "/usr/bin/chromium", "args": [*FLAGS, f"--user-data-dir={profile}"]}
        asked = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": {"script": 120000}}}}
        self.base += "/session/" + self.ask("/session", asked)["sessionId"]

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as answer:
            return json.load(answer)["value"]

    def element(self, name):
        return "/element/" + self.ask("/element", {"using": "css selector", "value": f"#{name}"})[ELEMENT]

    def end(self):
        try:
            urllib.request.urlopen(urllib.request.Request(self.base, method="DELETE"), timeout=30).close()
        finally:
            self.driver.kill()


# Types the words and clicks as a person does, and waits for the answer: one command in place of thirty.
CHECK = """
const [pin, now, onBox, done] = arguments, at = (id) => document.getElementById(id);
at("pin").value = pin; at("now").value = now; at("on-box").checked = onBox; at("check").click();
const look = () => (at("result").textContent === "\u2026" ? setTimeout(look, 1) : done(at("result").textContent));
look();
"""


def tell(browser, page, case, fresh):
    if fresh:
        browser.ask("/url", {"url": f"file://{page}"})
        browser.release = browser.element("release")
    browser.ask(browser.release + "/value", {"text": case["release"]})
    if case["files"]:
        browser.ask(browser.element("files") + "/value", {"text": "\n".join(case["files"])})
    return browser.ask("/execute/async", {"script": CHECK, "args": [case["pin"], case["now"], case["onBox"]]})


def main():
    page, cases = sys.argv[1:]
    with open(cases) as file:
        cases = json.load(file)
    with tempfile.TemporaryDirectory() as profile:
        browser = Browser(profile)
        try:
            told, fresh = [], True
            for case in cases:
                # Files that were chosen beside the release file are forgotten with the page.
                odd = bool(case["files"])
                told.append(tell(browser, page, case, fresh or odd))
                fresh = odd
            print(json.dumps(told))
        finally:
            browser.end()


main()
