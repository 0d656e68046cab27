"""A report's page in headless Chromium. Called by report_page.sh: PROGRAM BROWSER FOLDER."""

import json
import os
import random
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from playwright.sync_api import sync_playwright

PROGRAM, BROWSER, FOLDER = sys.argv[1], sys.argv[2], Path(sys.argv[3])
HOSTILE = "\"'><script>document.title='pwned'</script><img src=x onerror=\"document.title='pwned'\">&amp;\u202e{{ 7*7 }}</style></svg>"


def classified(world, *arguments, code=0):
    """Runs the program in its world."""
    environment = {"HOME": str(world), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([PROGRAM, *arguments], cwd=world, env=environment, capture_output=True, text=True)
    assert done.returncode == code, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def rows(world, name, good, seed):
    """300 texts, so large a share of them good."""
    dice = random.Random(seed)
    words = "set order number because element proof theorem function value light energy plant cell water time".split()
    with open(world / name, "w") as file:
        for row in range(300):
            if dice.random() < good:
                sentences = (
                    " ".join(dice.choices(words, k=dice.randint(8, 16))).capitalize() + ". For example, this holds, because it does."
                    for _ in range(dice.randint(3, 12))
                )
                text = f"# Chapter {row}\n\n" + "\n\n".join(sentences)
            else:
                text = "click here buy now " * dice.randint(3, 30)
            if row % 10 == 0:
                text = HOSTILE + " " + text
            file.write(json.dumps({"text": text, "id": f"{HOSTILE}{row}"}) + "\n")


def make(world):
    """A few days of two lenses, the last one worse."""
    for day in range(6):
        rows(world, "corpus.jsonl", 0.95 if day < 5 else 0.5, day)
        classified(
            world, "summary", "corpus.jsonl", "text", "textbook_quality,learning_value", "--model", "heuristic", "--id", "id", "-q"
        )
    rows(world, HOSTILE.replace("/", "") + ".jsonl", 0.7, 9)
    classified(world, "summary", HOSTILE.replace("/", "") + ".jsonl", "text", "textbook_quality", "--model", "heuristic", "-q")
    classified(world, "report", "--alert-drop", "-o", "report.html", code=5)
    return world / "report.html"


def shown(page):
    return page.locator(".row:visible").count()


def look(browser, path):
    """Opens the page in all its looks, and judges it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, width, scheme in [("light", 1200, "light"), ("dark", 1200, "dark"), ("narrow", 390, "light"), ("narrow-dark", 390, "dark")]:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        requests, complaints = [], []
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        assert requests == [path.as_uri()], f"the page asks for {requests}"
        assert complaints == [], complaints
        assert "pwned" not in page.title() or "document.title" in page.title(), page.title()
        assert page.locator("script, img, iframe, object, [onerror], [onclick]").count() == 0
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name}: {wide} pixels wider than the window"
        page.screenshot(path=FOLDER / f"{name}.png", full_page=True)
        if name == "light":
            filters(page)
            page.emulate_media(media="print")
            page.pdf(path=FOLDER / "print.pdf", format="A4")
        context.close()


def filters(page):
    """Every filter leaves what its name says, and they go together."""
    all_rows = shown(page)
    assert all_rows >= 40, all_rows
    for choice in page.locator(".filters input").all():
        name = choice.get_attribute("id")
        page.locator(f"label[for='{name}']").click()
        kind = name.split("-", 1)[1]
        if kind != "all":
            assert 0 < shown(page) < all_rows, name
            assert page.locator(f".row:visible:not(.{kind})").count() == 0, name
        page.locator(f"label[for='{name.split('-', 1)[0]}-all']").click()
        assert shown(page) == all_rows, name
    page.locator("label[for='kind-k-worst']").click()
    page.locator("label[for='lens-l1']").click()
    assert shown(page) > 0 and page.locator(".row:visible:not(.k-worst.l1)").count() == 0
    counted = page.evaluate("getComputedStyle(document.querySelector('.shown'), '::before').content")
    assert "counter" in counted or str(shown(page)) in counted, counted
    page.locator("label[for='kind-all']").click()
    page.locator("label[for='lens-all']").click()
    first = page.locator(".row details").first
    first.locator("summary").click()
    assert first.locator("p").is_visible() and not first.locator(".begin").is_visible()


with tempfile.TemporaryDirectory() as folder:
    report = Path(sys.argv[4]) if len(sys.argv) > 4 else make(Path(folder))
    # Strict: the page is well-formed XML as well.
    ElementTree.fromstring(report.read_text())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        look(browser, report)
        browser.close()
print(f"the page is as it should be; pictures are in {FOLDER}")
