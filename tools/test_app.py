#!/usr/bin/env python3
"""The page of `vlm_vla_app`, used as a person would, in Chromium through Playwright.

python tools/test_app.py --run outputs/demo                    what a visitor does
python tools/test_app.py --run outputs/demo --shots shots      and screenshots
python tools/test_app.py --run outputs/demo --people 20 --questions 500    many visitors at once
python tools/test_app.py --run outputs/demo --train            a page without an agent, too

Where there is no Chromium it says so and ends well; with --must it fails.
"""

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

FLAGS = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
 --disable-background-networking --disable-component-update""".split()
COMMAND = "import sys; from vlm_vla.cli import app; sys.exit(app())"
NAMES = "chromium chromium-browser google-chrome google-chrome-stable".split()
ANSWERED = "Found", "not find", "Findings", "no change", "找到"
AGAIN = "were not read again", "没有重新读取"


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def serving(*arguments):
    "(process, address, folder of its temporary files) of a `vlm_vla_app`."
    port, home = free_port(), Path(tempfile.mkdtemp())
    words = [sys.executable, "-c", COMMAND, *map(str, arguments), "--port", str(port)]
    log = open(home / "log", "w", encoding="utf-8")
    how = dict(env={**os.environ, "TMPDIR": str(home)}, stdout=log, stderr=subprocess.STDOUT)
    process, address = subprocess.Popen(words, **how), f"http://127.0.0.1:{port}"
    try:
        for _ in range(240):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(address, timeout=2).close()
                break
            assert process.poll() is None, (home / "log").read_text()
            time.sleep(0.5)
        yield process, address, home
    finally:
        process.terminate()
        process.wait(30)
        log.close()
        said = (home / "log").read_text(encoding="utf-8")
        shutil.rmtree(home)
    assert "Traceback" not in said, said


def draw(folder):
    "Pairs of drawn pictures: (file, file, sentence); one of another size; one that is none."
    from PIL import Image

    from vlm_vla.app.answers import draw_examples

    (folder / "notes.png").write_text("not a picture")
    Image.new("RGB", (200, 100)).save(folder / "small.png")
    out = []
    for *files, sentence in draw_examples(folder):
        own = [Path(f).rename(folder / f"mine_{Path(f).name}") for f in files]
        out.append((*own, sentence))
    return out


def draw_maps(folder, pair):
    "The pictures of a pair as GeoTIFFs with coordinates."
    import numpy as np
    import rasterio
    from PIL import Image
    from rasterio.transform import from_origin

    out = []
    for k, file in enumerate(pair):
        a = np.asarray(Image.open(file)).transpose(2, 0, 1)
        how = dict(driver="GTiff", width=a.shape[2], height=a.shape[1], count=3, dtype="uint8")
        how |= dict(crs="EPSG:32650", transform=from_origin(5e5, 35e5, 0.5, 0.5))
        out.append(folder / f"map_{k + 1}.tif")
        with rasterio.open(out[-1], "w", **how) as f:
            f.write(a)
    return out


class Visitor:
    "A browser's window on the page, and what went wrong in it."

    def __init__(self, browser, address, shots=None, **window):
        window = {"locale": "en-GB", "viewport": dict(width=1280, height=900), **window}
        self.context = browser.new_context(**window)
        self.page, self.address, self.shots = self.context.new_page(), address, shots
        self.errors, self.elsewhere = [], []
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", self._watch)
        self.page.set_default_timeout(60_000)
        self.page.goto(address)
        self.page.locator("#foot p, #train").first.wait_for()
        self.page.wait_for_timeout(1500)

    def _note(self, message):
        if message.type == "error":
            self.errors.append(message.text)

    def _watch(self, request):
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.elsewhere.append(request.url)

    def shot(self, name):
        if self.shots:
            self.page.wait_for_timeout(700)
            self.page.screenshot(path=str(Path(self.shots) / f"{name}.png"), full_page=True)

    def upload(self, *files):
        for name, file in zip(("t1", "t2"), files):
            clear = self.page.locator(f"#{name} button[aria-label='Clear']")
            if clear.count():
                clear.click()
                clear.wait_for(state="detached")
            self.page.locator(f"#{name} input[type=file]").set_input_files(str(file))
            clear.wait_for()
        self.page.wait_for_timeout(500)

    def verdict(self, *words):
        "The sentence of the answer, once it has one of these words."
        some = re.compile("|".join(map(re.escape, words)))
        found = self.page.locator("#verdict", has_text=some)
        try:
            found.wait_for()
        except sys.modules["playwright.sync_api"].TimeoutError as e:
            self.shot("failed")
            shown = self.page.locator("#verdict").inner_text()
            raise AssertionError(f"{words} was awaited and {shown!r} is shown") from e
        return found.inner_text()

    def ask(self, sentence, *words):
        self.page.locator("#sentence textarea").fill(sentence)
        self.page.locator("#ask").click()
        self.page.wait_for_timeout(400)
        return self.verdict(*(words or ANSWERED))

    def needs(self, least):
        "Set the least change score of an answer."
        number = self.page.locator("#least input[type=number]")
        if not number.is_visible():
            self.page.locator("#options button").first.click()
            self.page.wait_for_timeout(1000)  # it unfolds; what is typed before that may be lost
        number.fill(str(least))
        number.press("Tab")
        self.page.wait_for_timeout(300)

    def seen(self, name):
        return self.page.locator(f"#{name}").is_visible()

    def shows(self, *names):
        "Wait until these parts are visible."
        for name in names:
            self.page.locator(f"#{name}").wait_for()

    def taken(self, name):
        "The bytes behind a download button."
        with self.page.expect_download() as download:
            self.page.locator(f"#{name}").click()
        return Path(download.value.path()).read_bytes()

    def leave(self):
        "Close the window; nothing went wrong, and no path of the server was shown."
        words = self.page.inner_text("body")
        assert not re.search(r"(/tmp|/home|/root|/work|\\Users)\b", words), words
        assert not self.errors, self.errors
        assert not self.elsewhere, self.elsewhere
        self.context.close()


# What a visitor does: each takes a browser, an address, drawn pairs, files and --shots.
def asks_and_asks_again(browser, address, pairs, home, shots):
    v = Visitor(browser, address, shots)
    v.shot("start")
    assert "both dates" in v.ask("a road was built", "both dates")
    v.upload(*pairs[0][:2])
    first = v.ask(pairs[0][2])
    assert not any(a in first for a in AGAIN), first
    v.shows("marked", "pair", "json")
    v.page.locator("#pair img").nth(1).wait_for()
    v.shot("answer")
    second = v.ask("a road was removed on the right", AGAIN[0])  # the pair was not encoded again
    said = json.loads(v.taken("json"))
    assert said["sentence"] == "a road was removed on the right" and "findings" in said
    words = v.ask("a <b>house</b> <script>alert(1)</script> was built", AGAIN[0])
    listed = v.ask("", "hint", "no change", "Findings")
    v.shot("list")
    v.leave()
    seconds = [re.search(r"([\d.]+) s", t.replace(",", " "))[1] for t in (first, second)]
    said = f"{words.splitlines()[0]} | {listed.splitlines()[0]}"
    return f"first {seconds[0]} s and the encoding, again {seconds[1]} s; {said}"


def says_no_below_the_threshold(browser, address, pairs, home, shots):
    v = Visitor(browser, address, shots)
    v.upload(*pairs[0][:2])
    v.needs(1)
    said = v.ask(pairs[0][2], "I do not find that change")
    v.shows("json")
    assert not v.seen("table") and not v.seen("png")
    v.shot("not_found")
    v.needs(0)
    v.page.locator("#attention input").check()
    v.ask(pairs[0][2], "Found")
    v.shows("heat", "crop", "table", "legend")
    assert v.taken("png")[:4] == b"\x89PNG"
    v.shot("attention")
    v.leave()
    return said.splitlines()[0]


def gives_wrong_files(browser, address, pairs, home, shots):
    v, said = Visitor(browser, address, shots), []
    v.upload(home / "notes.png")
    said.append(v.verdict("notes.png: not a picture"))
    v.shot("wrong_file")
    v.upload(home / "small.png", pairs[0][1])
    said.append(v.verdict("200 x 100"))
    v.ask("a road was built", "200 x 100")
    v.upload(*pairs[0][:2])
    said.append(v.ask("house " * 150, "MAX_TEXT_LENGTH"))
    v.ask(pairs[0][2], *ANSWERED)
    v.leave()
    return " | ".join(s.splitlines()[0][:60] for s in said)


def reads_chinese(browser, address, pairs, home, shots):
    v = Visitor(browser, address, shots)
    v.upload(*pairs[0][:2])
    v.ask(pairs[0][2])
    v.page.locator("#language label", has_text="中文").click()
    said = v.verdict("找到")  # the answer that is shown changes its language too
    assert v.page.locator("#ask").inner_text() == "指给我看"
    v.ask("", "变化")
    v.shot("chinese")
    v.upload(home / "notes.png")
    v.verdict("不能用作影像")
    v.leave()
    other = Visitor(browser, address, locale="zh-CN")  # the browser's language
    assert other.page.locator("#ask").inner_text() == "指给我看"
    other.leave()
    return said.splitlines()[0]


def uses_the_keyboard_only(browser, address, pairs, home, shots):
    v, keys = Visitor(browser, address, shots), []

    def tab_to(selector, most=40):
        for _ in range(most):
            v.page.keyboard.press("Tab")
            keys.append("Tab")
            if v.page.evaluate(f"() => !!document.activeElement.closest({selector!r})"):
                return
        raise AssertionError(f"Tab does not reach {selector}")

    tab_to("#examples button")
    v.page.keyboard.press("Enter")
    v.verdict(*ANSWERED)
    tab_to("#sentence")
    v.page.keyboard.press("Control+A")
    v.page.keyboard.type("a road was removed")
    v.page.keyboard.press("Enter")
    said = v.verdict(AGAIN[0])
    tab_to("#ask")
    v.page.keyboard.press("Enter")
    v.page.wait_for_timeout(1500)
    v.verdict(AGAIN[0])
    v.leave()
    return f"{len(keys)} times Tab; {said.splitlines()[0]}"


def has_a_narrow_window(browser, address, pairs, home, shots):
    v = Visitor(browser, address, shots, viewport=dict(width=400, height=800))
    v.upload(*pairs[2][:2])
    said = v.ask(pairs[2][2])
    wide = v.page.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 400, f"the page is {wide} pixels wide in a window of 400"
    v.shot("narrow")
    v.leave()
    return f"{wide} pixels; {said.splitlines()[0]}"


def gives_maps(browser, address, pairs, home, shots):
    v = Visitor(browser, address, shots)
    v.upload(*draw_maps(home, pairs[0][:2]))
    v.needs(0)
    v.ask(pairs[0][2], "Found")
    layer = json.loads(v.taken("geojson"))
    lon, lat = layer["features"][1]["geometry"]["coordinates"]
    assert 116 < lon < 118 and 31 < lat < 32, (lon, lat)
    v.shot("maps")
    v.leave()
    return f"{len(layer['features'])} features, {lon:.5f} {lat:.5f}"


VISITS = (
    asks_and_asks_again,
    says_no_below_the_threshold,
    gives_wrong_files,
    reads_chinese,
    uses_the_keyboard_only,
    has_a_narrow_window,
    gives_maps,
)


def uploads(home):
    "Files of visitors that the server has: pictures and answers, not its own examples."
    return [f for f in home.glob("vlm_vla_*/uploads/*/*") if not f.name.startswith("example_")]


def visit(chromium, args):
    "All that a visitor does, each in a window of its own."
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as d, sync_playwright() as playwright:
        pairs = draw(Path(d))
        with serving(args.run) as (_, address, home):
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            at_first = len(uploads(home))  # the thumbnails of the examples
            for act in VISITS:
                found = act(browser, address, pairs, Path(d), args.shots)
                print(f"{act.__name__.replace('_', ' '):<30}{found}", flush=True)
            for _ in range(80):
                if len(uploads(home)) <= at_first:
                    break
                time.sleep(0.5)
            assert len(uploads(home)) <= at_first, uploads(home)
            print(f"{'everybody has left':<30}no upload and no answer is left on the server")
            browser.close()


def train(chromium, args):
    "A page without an agent: train the small demo there, then ask."
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as d, sync_playwright() as playwright:
        pairs = draw(Path(d))
        with serving("--set", f"OUTPUT_DIR={d}/outputs") as (_, address, _):
            browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
            v = Visitor(browser, address, args.shots)
            assert not v.seen("ask") and v.seen("train")
            v.shot("offer")
            v.page.locator("#train").click()
            v.page.wait_for_timeout(15_000)
            v.shot("training")
            v.page.locator("#ask").wait_for(timeout=600_000)
            v.upload(*pairs[0][:2])
            print("trained on the page;", v.ask(pairs[0][2]).splitlines()[0])
            v.leave()
            browser.close()


def crowd(args):
    "Many visitors at once, without a browser: no answer is mixed up, and memory stays flat."
    import psutil
    from gradio_client import Client, handle_file

    def person(address, pair):
        client = Client(address, verbose=False)
        for name, file in zip(("t1", "t2"), pair):
            client.predict(handle_file(file), "English", api_name=f"/{name}")
        return client

    def question(client, sentence):
        start = time.perf_counter()
        found = client.predict(sentence, 0.0, False, "English", api_name="/ask")
        seconds = time.perf_counter() - start
        (file,) = {f for f in map(_path, found) if f and f.endswith(".json")}
        said = json.loads(Path(file).read_text(encoding="utf-8"))
        return seconds, said["sentence"], [x["center"] for x in said["findings"]]

    with tempfile.TemporaryDirectory() as d, serving(args.run) as (process, address, _):
        pairs = draw(Path(d))
        sentences = [p[2] for p in pairs[:3]] + ["a road was removed", "a building was built"]
        server, clients = psutil.Process(process.pid), []
        clients = [person(address, pairs[k % 4][:2]) for k in range(args.people)]
        truth = {}
        for k in range(4):  # asked alone
            for s in sentences:
                truth[k, s] = question(clients[k], s)[1:]
        before = server.memory_info().rss

        def one(n):
            k, s = n % args.people, sentences[(n // args.people) % len(sentences)]
            seconds, *said = question(clients[k], s)
            return seconds, tuple(said) == truth[k % 4, s]

        fifth, memory, found = args.questions // 5, [before], []
        with ThreadPoolExecutor(args.people) as people:
            for n in range(0, args.questions, fifth):
                found += people.map(one, range(n, n + fifth))
                memory.append(server.memory_info().rss)
        times, wrong = [s for s, _ in found], sum(not right for _, right in found)
        slow = statistics.quantiles(times, n=20)[-1]
        used = ", ".join(f"{m / 2**20:.0f}" for m in memory)
        print(
            f"{args.people} people, {len(found)} questions: {wrong} wrong answers; median "
            f"{statistics.median(times):.2f} s, 95th percentile "
            f"{slow:.2f} s; MiB before, and after each fifth: {used}"
        )
        assert not wrong
        assert memory[-1] < 1.05 * memory[2], "memory grows"


def _path(value):
    "The path in what Gradio's client gives for a component."
    if isinstance(value, dict):
        value = value.get("value")
    return value if isinstance(value, str) else None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", required=True, help="a trained run")
    parser.add_argument("--shots", metavar="FOLDER", help="screenshots go here")
    parser.add_argument("--must", action="store_true", help="fail where there is no Chromium")
    parser.add_argument("--people", type=int, default=0, help="visitors at once")
    parser.add_argument("--questions", type=int, default=500, help="of all of them together")
    parser.add_argument("--train", action="store_true", help="train the small demo on the page")
    args = parser.parse_args()
    if args.shots:
        Path(args.shots).mkdir(parents=True, exist_ok=True)
    if args.people:
        return crowd(args)
    chromium = next(filter(None, map(shutil.which, NAMES)), None)
    lacking = [] if chromium else [f"Chromium ({', '.join(NAMES)})"]
    lacking += [] if find_spec("playwright") else ["the package playwright"]
    if lacking:
        print(f"skipped: there is no {' and no '.join(lacking)} here")
        return 1 if args.must else 0
    visit(chromium, args)
    if args.train:
        train(chromium, args)


if __name__ == "__main__":
    sys.exit(main())
