"""The page at /ui in a real browser, with a real server."""

import csv
import json
import shutil
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.serving import Server, serving

_CHROMIUM, _DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

pytestmark = pytest.mark.skipif(
    None in (_CHROMIUM, _DRIVER), reason="`apt-get install chromium chromium-driver` to run these"
)

_PORTION = 4
_VALUES = "team/values"  # the second model: its name has a slash, as names of the hub do
_TEXT = "a gorgeous, witty, seductive movie"
_LINES = ["a gorgeous film", "", 'he said "no", twice', "café 😀", "<b>dull</b>", "x " * 600]


class Page:
    """The playground in the browser, as a user sees it."""

    def __init__(self, browser: webdriver.Chrome, url: str) -> None:
        self.browser, self.url = browser, url
        self.requests: list[tuple[str, str]] = []  # method and URL, up to the last `update`

    def update(self) -> None:
        """Note the requests since the last time."""
        entries = _log(self.browser, "performance")
        events = [json.loads(entry["message"])["message"] for entry in entries]
        sent = [
            event["params"]["request"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        self.requests += [(each["method"], each["url"]) for each in sent]

    def open(self, *, ready: bool = True) -> None:
        self.browser.get(f"{self.url}/ui")
        if ready:
            self.wait(lambda: "token" in self.text("fact-length"))

    def wait(self, condition: Callable[[], object]) -> None:
        WebDriverWait(self.browser, 10, 0.02).until(lambda _: condition())

    def find(self, name: str) -> WebElement:
        return self.browser.find_element("id", name)

    def all(self, selector: str) -> list[WebElement]:
        return self.browser.find_elements("css selector", selector)

    def shown(self, name: str) -> bool:
        return self.find(name).is_displayed()

    def text(self, name: str) -> str:
        return self.find(name).text

    def choose(self, mode: str) -> None:
        self.all(f"input[name=mode][value={mode}]")[0].click()

    def fill(self, name: str, text: str) -> None:
        """Type a text; the keyboard of the driver has no characters beyond U+FFFF."""
        script = (
            "arguments[0].value = arguments[1]; "
            "arguments[0].dispatchEvent(new Event('input', {bubbles: true}))"
        )
        self.browser.execute_script(script, self.find(name), text)

    def classify(self) -> None:
        """Press Classify and wait for the result or an error."""
        self.all("#form button[type=submit]")[0].click()
        self.wait(self._settled)

    def _settled(self) -> bool:
        busy = self.text("status") == "Classifying…" or self.shown("running")
        return not busy and (self.text("status") != "" or self.shown("alert"))

    def scores(self) -> list[tuple[str, float]]:
        """The labels and scores, from the top."""
        script = (
            "return [...document.querySelectorAll('#scores li')].map(item => "
            "[item.querySelector('.label').textContent, item.querySelector('data').value])"
        )
        return [(label, float(score)) for label, score in self.browser.execute_script(script)]

    def rows(self) -> list[list[str]]:
        """The cells of the table."""
        script = (
            "return [...document.querySelectorAll('#lines-body tr')].map(row => "
            "[...row.cells].map(cell => cell.innerText))"
        )
        rows: list[list[str]] = self.browser.execute_script(script)
        return rows

    def focused(self) -> WebElement:
        return self.browser.switch_to.active_element

    def press(self, *keys: str) -> None:
        """Press keys together, where the focus is."""
        chain = ActionChains(self.browser)
        for key in keys[:-1]:
            chain.key_down(key)
        chain.send_keys(keys[-1])
        for key in keys[:-1]:
            chain.key_up(key)
        chain.perform()

    def tab_to(self, condition: Callable[[WebElement], bool]) -> None:
        """Press Tab until the focus is there."""
        for _ in range(20):
            self.press(Keys.TAB)
            if condition(self.focused()):
                return
        raise AssertionError("Tab does not lead there")


@pytest.fixture(scope="module")
def values_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A regression of 30 values, below 0 and above."""
    import torch
    from bertrt_export import export_model
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    names = [f"value {number}" for number in range(30)]
    config = BertConfig.from_pretrained(
        tiny_checkpoint,
        problem_type="regression",
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
    )
    folder = tmp_path_factory.mktemp("values")
    BertForSequenceClassification(config).save_pretrained(folder / "checkpoint")
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(folder / "checkpoint")
    export_model(str(folder / "checkpoint"), folder / "artifact")
    return folder / "artifact"


@pytest.fixture(scope="module")
def server(tiny_artifact: Path, values_artifact: Path) -> Iterator[Server]:
    models = f"tiny={tiny_artifact}", f"{_VALUES}={values_artifact}"
    with serving(*models, options=("--max-client-batch-size", str(_PORTION))) as running:
        yield running


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def chromium(downloads: Path) -> Iterator[webdriver.Chrome]:
    assert _CHROMIUM is not None and _DRIVER is not None
    options = webdriver.ChromeOptions()
    options.binary_location = _CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1280,1000")
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(_DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def open_page(chromium: webdriver.Chrome) -> Iterator[Callable[[str], Page]]:
    """Makes pages; after the test no request has left their origin, and the console is clean."""
    pages = []

    def make(url: str) -> Page:
        pages.append(Page(chromium, url))
        return pages[-1]

    _log(chromium, "performance")  # forget what was before
    _log(chromium, "browser")
    yield make
    [opened] = pages
    opened.update()
    origins = {urlsplit(url)[:2] for _, url in opened.requests}
    assert origins - {("blob", ""), ("data", "")} == {urlsplit(opened.url)[:2]}
    # Chromium notes every status from 400 on, which the tests of errors provoke.
    messages = [entry["message"] for entry in _log(chromium, "browser")]
    assert [message for message in messages if "Failed to load resource" not in message] == []
    chromium.execute_script("sessionStorage.clear()")


@pytest.fixture
def page(open_page: Callable[[str], Page], server: Server) -> Page:
    opened = open_page(server.url)
    opened.open()
    return opened


def _log(browser: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """What has come to a log since the last call."""
    entries: list[dict[str, Any]] = browser.execute("getLog", {"type": kind})["value"]
    return entries


def _ask(server: Server, path: str, inputs: Any) -> Any:
    answer = httpx.post(f"{server.url}/{path}", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    return answer.json()


def _ranked(answer: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(each["label"], each["score"]) for each in answer]


def test_shows_the_model(page: Page, server: Server) -> None:
    info = httpx.get(f"{server.url}/info").json()
    assert Select(page.find("model")).first_selected_option.text == info["model_id"] == "tiny"
    assert page.text("fact-precision") == info["model_dtype"]
    assert info["execution_provider"].startswith(page.text("fact-provider"))
    assert page.find("fact-provider").get_attribute("title") == info["execution_provider"]
    assert page.text("fact-length") == f"{info['max_input_length']} tokens"
    assert page.text("fact-version") == info["version"]


def test_shows_every_label_of_a_text(page: Page, server: Server) -> None:
    page.fill("first", _TEXT)
    page.classify()
    [answer] = _ask(server, "predict", [[_TEXT]])
    assert page.scores() == _ranked(answer)
    shown = [float(data.text) for data in page.all("#scores data")]
    assert shown == sorted(shown, reverse=True) and len(shown) == 3
    widths = [bar.size["width"] for bar in page.all("#scores .bar")]
    assert widths == sorted(widths, reverse=True) and widths[0] > 0
    assert answer[0]["label"] in page.text("status") and not page.shown("scores-more")


def test_shows_where_the_time_went(page: Page) -> None:
    page.fill("first", _TEXT)
    page.classify()
    legend = [row.text.rsplit(maxsplit=2) for row in page.all("#latency tr")]
    assert [name for name, *_ in legend] == [
        "Tokenization", "Queue", "Inference", "Server overhead", "Network and browser",
        "All, seen from here",
    ]  # fmt: skip
    *parts, whole = [float(number) for _, number, _ in legend]
    assert sum(parts) == pytest.approx(whole, abs=0.1)
    assert len(page.all("#latency .segment")) == 5
    assert "of 512 tokens" in page.text("tokens") and not page.shown("cut")


def test_says_that_a_text_was_cut(page: Page) -> None:
    page.fill("first", "x " * 600)
    page.classify()
    assert "longer than the 512 tokens" in page.text("cut") and "its end" in page.text("cut")
    assert page.text("tokens").startswith("512 of 512")


def test_classifies_a_pair(page: Page, server: Server) -> None:
    assert not page.shown("second")
    page.choose("pair")
    page.fill("first", _TEXT)
    page.fill("second", "it was dull")
    page.classify()
    [answer] = _ask(server, "predict", [[_TEXT, "it was dull"]])
    assert page.scores() == _ranked(answer)


def test_another_model_of_many_values(page: Page, server: Server) -> None:
    """The first 20 of its labels until all are asked for; values below 0 to the left."""
    assert page.text("fact-precision") == "float32"
    Select(page.find("model")).select_by_visible_text(_VALUES)
    for mode, inputs in (("text", _TEXT), ("pair", {"text": _TEXT, "text_pair": "dull"})):
        page.choose(mode)
        page.fill("first", _TEXT)
        page.fill("second", "dull")
        page.classify()
        [answer] = _ask(server, f"models/{_VALUES}", [inputs])
        assert page.scores() == _ranked(answer)[:20]
        assert "no probabilities" in page.text("scores-note")
        assert page.text("scores-count") == "The first 20 of 30 labels."
        page.find("scores-all").click()
        assert page.scores() == _ranked(answer)
    bars = page.all("#scores .bar")
    largest = max(abs(score) for _, score in page.scores())
    widest = max(bar.size["width"] for bar in bars)
    for bar, (_, score) in zip(bars, page.scores(), strict=True):
        assert bar.size["width"] == pytest.approx(widest * abs(score) / largest, abs=1)
        left, middle = bar.location["x"], bars[0].location["x"]
        assert (left < middle) == (score < 0) or abs(score) < largest / 50


def test_many_lines_and_their_csv(page: Page, server: Server, downloads: Path) -> None:
    page.choose("lines")
    page.fill("lines", "\n".join(_LINES))
    assert page.text("lines-note").startswith("5 lines.")
    page.classify()
    page.update()
    posts = [url for method, url in page.requests if method == "POST"]
    assert posts == [f"{server.url}/predict"] * 2  # the portions are of 4 lines
    numbered = [(number, text) for number, text in enumerate(_LINES, 1) if text]
    answers = [_ask(server, "predict", [[text]])[0] for _, text in numbered]
    cells = page.rows()
    assert [[row[0], row[2]] for row in cells] == [
        [str(number), answer[0]["label"]]
        for (number, _), answer in zip(numbered, answers, strict=True)
    ]
    assert cells[3][1] == "<b>dull</b>"
    assert [row[4] for row in cells] == ["", "", "", "", "cut"]
    assert "5 lines, 1 cut" in page.text("lines-summary")

    page.find("download").click()
    file = downloads / "tiny-scores.csv"
    page.wait(file.exists)
    table = list(csv.DictReader(file.read_text(encoding="utf-8-sig").splitlines()))
    labels = ("negative", "neutral", "positive")
    assert list(table[0]) == ["line", "text", "label", "score", "truncated"] + [
        f"score_{label}" for label in labels
    ]
    assert [(int(row["line"]), row["text"]) for row in table] == numbered
    for row, answer in zip(table, answers, strict=True):
        assert row["label"] == answer[0]["label"]
        assert row["truncated"] == ("true" if row["line"] == "6" else "false")
        scores = dict(_ranked(answer))
        assert {label: float(row[f"score_{label}"]) for label in labels} == pytest.approx(scores)


def test_sorts_the_table(page: Page) -> None:
    page.choose("lines")
    page.fill("lines", "\n".join(_LINES[:5]))
    page.classify()
    head = page.all("#lines-head th")[3]
    button = head.find_element("tag name", "button")
    for order in ("ascending", "descending"):
        button.click()
        assert head.get_attribute("aria-sort") == order
        scores = [float(row[3]) for row in page.rows()]
        assert scores == sorted(scores, reverse=order == "descending") and len(scores) == 4


def test_lines_that_are_pairs(page: Page, server: Server) -> None:
    page.choose("lines")
    page.fill("lines", "good film\tdull\nno tab")
    assert "1 with a tab" in page.text("lines-note")
    page.find("lines-pairs").click()
    page.classify()
    assert page.text("alert") == "Line 2 has no tab, so it is no pair."
    page.fill("lines", "good film\tdull")
    page.classify()
    [answer] = _ask(server, "predict", [["good film", "dull"]])
    [row] = page.rows()
    assert row[1].split() == ["good", "film", "dull"] and row[2] == answer[0]["label"]


def test_cancels_many_lines(page: Page) -> None:
    page.choose("lines")
    page.fill("lines", "\n".join(f"film number {number}" for number in range(8_000)))
    page.all("#form button[type=submit]")[0].click()
    page.wait(lambda: page.shown("lines-result"))
    page.find("cancel").click()
    page.wait(lambda: "Cancelled after" in page.text("status"))
    done = int(page.text("status").split()[2].replace(",", ""))
    assert 0 < done < 8_000 and done % _PORTION == 0
    assert not page.shown("cancel") and len(page.rows()) == min(done, 200)


def test_says_what_the_server_refuses(
    open_page: Callable[[str], Page], tiny_artifact: Path
) -> None:
    options = ("--max-text-chars", "20", "--max-body-bytes", "400")
    with serving(tiny_artifact, options=options) as strict:
        page = open_page(strict.url)
        page.open()
        page.classify()
        assert page.text("alert") == "There is no text yet: type one first."
        page.fill("first", _TEXT)
        page.classify()
        sentence = f"Text 0 has {len(_TEXT)} characters and max_text_chars is 20."
        assert page.text("alert") == sentence
        assert page.find("alert").get_attribute("role") == "alert" and not page.shown("one-result")
        page.fill("first", "x" * 500)
        page.classify()
        assert "more than 400 bytes" in page.text("alert")
        page.choose("lines")
        assert not page.shown("alert")
        page.fill("lines", f"short\n{_TEXT}")
        page.classify()
        assert page.text("alert").startswith("Line 2 has 34 characters")
        page.fill("lines", "\n".join(["twenty characters ab"] * 20))
        page.classify()
        assert not page.shown("alert") and len(page.rows()) == 20


def test_says_that_the_server_is_gone(
    open_page: Callable[[str], Page], tiny_artifact: Path
) -> None:
    with serving(tiny_artifact, options=("--drain-delay", "0")) as running:
        page = open_page(running.url)
        page.open()
    page.fill("first", _TEXT)
    page.classify()
    assert "cannot be reached" in page.text("alert")


def test_asks_for_the_api_key(open_page: Callable[[str], Page], tiny_artifact: Path) -> None:
    with serving(tiny_artifact, env={"BERTRT_API_KEY": "s3cret"}) as locked:
        page = open_page(locked.url)
        page.open(ready=False)
        page.wait(lambda: page.focused().get_attribute("id") == "key")
        assert page.text("key-problem") == "The server asks for an API key."
        assert "API key" in page.text("alert")
        page.press("w")
        page.press(Keys.ENTER)
        page.wait(lambda: page.text("key-problem") == "The server does not accept this API key.")
        assert page.focused().get_attribute("id") == "key"
        page.find("key").clear()
        page.find("key").send_keys("s3cret", Keys.ENTER)
        page.wait(lambda: "token" in page.text("fact-length"))
        assert not page.shown("alert") and not page.shown("key-problem")
        page.open()  # the key is kept
        page.fill("first", _TEXT)
        page.classify()
        assert len(page.scores()) == 3
        kept = page.browser.execute_script("return [localStorage.length, document.cookie]")
        assert kept == [0, ""]
        page.browser.execute_script("sessionStorage.clear()")


def test_works_by_keyboard_alone(page: Page, server: Server) -> None:
    page.tab_to(lambda element: element.get_attribute("value") == "text")
    page.press(Keys.ARROW_RIGHT)
    assert page.focused().get_attribute("value") == "pair" and page.shown("second")
    for name in ("first", "second"):
        page.press(Keys.TAB)
        assert page.focused().get_attribute("id") == name
        assert page.focused().value_of_css_property("outline-style") == "solid"
        page.press(f"the {name} text")
    page.press(Keys.CONTROL, Keys.ENTER)
    page.wait(lambda: page.shown("one-result"))
    [answer] = _ask(server, "predict", [["the first text", "the second text"]])
    assert page.scores() == _ranked(answer)
    page.tab_to(lambda element: element.text == "Classify")
    page.press(" ")
    page.wait(lambda: "Answered in" in page.text("status"))


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_sticks_out(page: Page, width: int) -> None:
    page.browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500},
    )
    try:
        page.fill("first", "x" * 300)
        page.classify()
        assert _overflow(page) == 0
        page.choose("lines")
        page.fill("lines", f"{'x' * 300}\n{_TEXT}")
        page.classify()
        assert _overflow(page) == 0
    finally:
        page.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def _overflow(page: Page) -> int:
    script = "return document.documentElement.scrollWidth - window.innerWidth"
    return max(0, int(page.browser.execute_script(script)))


def test_every_control_has_a_name(page: Page) -> None:
    page.all("summary")[0].click()
    for mode in ("text", "pair", "lines"):
        page.choose(mode)
        page.fill("first", _TEXT)
        page.fill("lines", _TEXT)
        page.classify()
        controls = page.all("input, select, textarea, button, summary, a, [tabindex]")
        shown = [control for control in controls if control.is_displayed()]
        assert len(shown) > 10
        assert [each.get_attribute("outerHTML") for each in shown if not each.accessible_name] == []


class _Proxy(BaseHTTPRequestHandler):
    """Passes /team/nlp/... on to a server; answers the first posts itself, with 429."""

    target = ""
    refusals = 0

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if type(self).refusals:
            type(self).refusals -= 1
            self._answer(429, {"retry-after": "1"}, b'{"error": "too busy", "error_type": "x"}')
        else:
            self._pass_on(body)

    def _pass_on(self, body: bytes | None) -> None:
        prefix = "/team/nlp/"
        if not self.path.startswith(prefix):
            self._answer(404, {}, b"outside the prefix")
            return
        url = f"{self.target}/{self.path.removeprefix(prefix)}"
        request = urllib.request.Request(url, body, {"content-type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            kept = {"content-type": answer.headers["content-type"]}
            self._answer(answer.status, kept, answer.read())

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


@contextmanager
def _proxied(target: str, refusals: int) -> Iterator[str]:
    """The URL of a proxy that drops the server's headers and puts a prefix before its paths."""
    handler = type("Handler", (_Proxy,), {"target": target, "refusals": refusals})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as proxy:
        thread = Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{proxy.server_port}/team/nlp"
        finally:
            proxy.shutdown()
            thread.join()


def test_behind_a_prefix(open_page: Callable[[str], Page], server: Server) -> None:
    """Nothing goes past the prefix; without the headers only the round trip is known."""
    with _proxied(server.url, refusals=0) as url:
        page = open_page(url)
        page.open()
        page.fill("first", _TEXT)
        page.classify()
        assert len(page.scores()) == 3
        assert page.text("latency").startswith("Server and network")
        assert page.text("tokens") == "Not reported."
        Select(page.find("model")).select_by_visible_text(_VALUES)
        page.classify()
        assert len(page.scores()) == 20
        links = [link.get_attribute("href") for link in page.all("nav a")]
        assert links == [f"{url}/docs", f"{url}/metrics"]


def test_a_busy_server_is_asked_again(open_page: Callable[[str], Page], server: Server) -> None:
    """A single text by the user, many lines by the page itself."""
    with _proxied(server.url, refusals=2) as url:
        page = open_page(url)
        page.open()
        page.fill("first", _TEXT)
        page.classify()
        assert page.text("alert") == "Too busy.\nTry again in 1 second or a little later."
        page.choose("lines")
        page.fill("lines", _TEXT)
        page.classify()
        assert len(page.rows()) == 1 and not page.shown("alert")
