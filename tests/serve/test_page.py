"""The page, in Debian's Chromium without a screen."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.batching.fakes import Shouting
from tests.serve.conftest import address_of

StartServer = Callable[..., httpx.Client]
CHROMIUM = shutil.which("chromium")
# Where pictures of the page are kept, to be looked at.
PICTURES = os.environ.get("NMT_PICTURES")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens the page, and checks that nothing went wrong in it."""
    pages: list[tuple[Page, list[str]]] = []

    def start(client: httpx.Client, **settings: object) -> Page:
        page = browser.new_context(**settings).new_page()  # type: ignore[arg-type]
        page.set_default_timeout(10_000)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(f"dialog: {dialog.message}"))
        page.on(
            "console",
            lambda message: (
                problems.append(message.text) if "Content Security" in message.text else None
            ),
        )
        pages.append((page, problems))
        page.goto(address_of(client))
        expect(page.locator("#target-language option")).not_to_have_count(0)
        return page

    yield start
    for page, problems in pages:
        page.context.close()
        assert problems == []


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)


def both_ways(start_server: StartServer, **more: object) -> httpx.Client:
    return start_server(Shouting(), Shouting(source="de", target="en"), **more)


def test_it_translates_while_one_types(
    start_server: StartServer, open_page: Callable[..., Page]
) -> None:
    page = open_page(both_ways(start_server))
    page.locator("#source").press_sequentially("Two dogs play.", delay=5)
    expect(page.locator("#translation")).to_have_text("TWO DOGS PLAY.")
    expect(page.locator("#count")).to_have_text("14 / 1000")
    expect(page.locator("#confidence")).to_be_visible()
    expect(page.locator("#alternatives li")).to_have_text("TWO DOGS PLAY.?")
    word = page.locator("#alignment .word[tabindex]").nth(1)
    word.hover()
    expect(page.locator("#alignment .word.on")).to_have_text(["DOGS", "dogs"])
    page.locator("summary").click()
    picture(page, "translated")
    page.locator("#source").fill("")
    expect(page.locator("#translation")).to_have_text("")
    expect(page.locator("#words")).to_be_hidden()


def test_swapping(start_server: StartServer, open_page: Callable[..., Page]) -> None:
    page = open_page(both_ways(start_server))
    page.locator("#source").fill("one")
    expect(page.locator("#translation")).to_have_text("ONE")
    page.locator("#source").press("Alt+s")
    expect(page.locator("#source-language")).to_have_value("de")
    expect(page.locator("#target-language")).to_have_value("en")
    expect(page.locator("#source")).to_have_value("ONE")
    expect(page.locator("#translation")).to_have_text("ONE")
    page.locator("#source-language").select_option("auto")
    page.locator("#target-language").select_option("de")
    page.locator("#source").fill("This is an English sentence.")
    expect(page.locator("#source-language option").first).to_have_text("Detected: English")
    one_way = open_page(start_server(Shouting()))
    expect(one_way.locator("#swap")).to_be_disabled()


def test_an_error_is_told_in_words(
    start_server: StartServer, open_page: Callable[..., Page]
) -> None:
    page = open_page(both_ways(start_server, requests_per_minute=1), color_scheme="dark")
    page.locator("#source").fill("one")
    expect(page.locator("#translation")).to_have_text("ONE")
    page.locator("#source").fill("two")
    expect(page.get_by_role("alert")).to_contain_text("Too many requests from you. Try again in")
    picture(page, "error-dark")
    page.locator("#source").fill("x" * 1001)
    expect(page.get_by_role("alert")).to_contain_text("The text has 1001 characters; at most 1000")


def test_markup_in_texts_stays_text(
    start_server: StartServer, open_page: Callable[..., Page]
) -> None:
    page = open_page(both_ways(start_server))
    attack = "<img src=x onerror=alert(1)><script>alert(2)</script> dog"
    page.locator("#source").fill(attack)
    expect(page.locator("#translation")).to_have_text(attack.upper())
    expect(page.locator("#alignment .word").first).to_be_visible()
    assert page.locator("main img, main script").count() == 0


def test_on_a_phone(start_server: StartServer, open_page: Callable[..., Page]) -> None:
    page = open_page(
        both_ways(start_server), viewport={"width": 360, "height": 740}, has_touch=True
    )
    page.locator("#source").fill("A rather long sentence " + "that goes on and on " * 8)
    expect(page.locator("#translation")).to_contain_text("GOES ON")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    source, translation = (
        page.locator(f"#{one}").bounding_box() for one in ("source", "translation")
    )
    assert source is not None
    assert translation is not None
    assert translation["y"] > source["y"] + source["height"] - 1, "one below the other"
    picture(page, "phone")


def test_the_keyboard_reaches_everything(
    start_server: StartServer, open_page: Callable[..., Page]
) -> None:
    page = open_page(both_ways(start_server))
    page.locator("#source").fill("one two")
    expect(page.locator("#alignment .word[tabindex]")).to_have_count(2)
    page.locator("#tab-translate").focus()
    reached = set()
    for _ in range(20):
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.className"))
        page.keyboard.press("Tab")
    for name in (
        "source-language",
        "swap",
        "target-language",
        "source",
        "clear",
        "copy",
        "word on",
    ):
        assert name in reached, reached
    unnamed = page.evaluate(
        "[...document.querySelectorAll('button, select, textarea, output')].filter(one =>"
        "!(one.labels?.length || one.getAttribute('aria-label') || one.textContent.trim())).length"
    )
    assert unnamed == 0


def test_a_key_is_asked_for(
    start_server: StartServer, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("anna right\n", encoding="utf-8")
    page = open_page(both_ways(start_server, keys=str(tmp_path / "keys")))
    page.locator("#key").fill("wrong")
    page.locator("#source").fill("one")
    expect(page.get_by_role("alert")).to_contain_text("Invalid API key")
    page.locator("#key").fill("right")
    page.locator("#source").fill("two")
    expect(page.locator("#translation")).to_have_text("TWO")
    expect(page.locator("#key-form")).to_be_hidden()


def test_the_server_s_figures(start_server: StartServer, open_page: Callable[..., Page]) -> None:
    client = both_ways(start_server)
    page = open_page(client)
    client.post("/translate", json={"q": "one", "source": "en", "target": "de"})
    page.locator("#tab-server").click()
    expect(page.locator("#view-translate")).to_be_hidden()
    expect(page.locator("#figures")).to_contain_text("Sentences in all")
    expect(page.locator("#figures dd").last).to_have_text("1")
    expect(page.locator("#chart polyline")).to_have_count(2)
    page.wait_for_timeout(1200)
    picture(page, "server")
    page.locator("#tab-server").press("ArrowLeft")
    expect(page.locator("#view-translate")).to_be_visible()
