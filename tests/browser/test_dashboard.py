"""The dashboard as people use it: in a real browser, by mouse and keyboard, in both themes, on a phone."""

import gzip
import re
from contextlib import closing
from datetime import timedelta
from html import unescape
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from helpers.browser import HOURS, SPAN, START, Looking
from helpers.collector import prediction, request
from helpers.waiting import wait_until
from lapwing_collector.clock import epoch_ns
from lapwing_collector.model.profiles import DURATIONS
from lapwing_collector.web.pages import PAGES
from lapwing_collector.web.rendering import milliseconds_from_bins

MODEL = f"/model?name=churn&{SPAN}"
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
NAMELESS = (Path(__file__).parent / "nameless.js").read_text()
LISTENING = "[data-live]:not(.off):not([hidden])"
"""There once a page hears of what is new: what came while it opened it is not told."""
DRAWN_WIDTH = """
() => new Promise((tell) => {
  const after = (frames) => requestAnimationFrame(
    () => frames ? after(frames - 1) : tell(document.documentElement.scrollWidth));
  after(2);
})
"""
"""How wide a page is, once it is drawn in its new size: charts follow a frame later."""


def addresses() -> list[str]:
    """Every page of the navigation and those that lead on from them, over all that there is."""
    more = {"record": "&id=p100", "rule": "&rule=churn%2FScoreHigh"}
    return [
        f"{page.path}?{SPAN}" + ("&name=churn" if page.of_model else "") + more.get(page.name, "")
        for page in PAGES
        if page.nav or page.name in more
    ]


def test_every_page_can_be_read(looking: Looking) -> None:
    """Each page is quiet, asks nobody else, is legible in either theme, names its parts and fits a phone."""
    looking.said.clear()
    found: list[str] = []
    desk, phone = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
    # Without motion: else colours take a moment to be those of a theme.
    page = looking.page("/", viewport=desk, has_touch=True, reduced_motion="reduce")
    for address in addresses():
        page.emulate_media(color_scheme="light")
        looking.go(page, address)
        found += [f"{address}: {each}" for each in page.evaluate(CONTRAST) + page.evaluate(NAMELESS)]
        found += [] if page.locator("h1").count() else [f"{address}: no heading"]
        page.emulate_media(color_scheme="dark")
        found += [f"{address}, dark: {each}" for each in page.evaluate(CONTRAST)]
        page.set_viewport_size(phone)
        wide = page.evaluate(DRAWN_WIDTH)
        found += [] if wide <= 360 else [f"{address}: {wide} px wide"]
        page.set_viewport_size(desk)
    assert looking.said + found == []
    page.context.close()


def test_no_link_leads_nowhere(looking: Looking) -> None:
    """Every page that another one links to is there, from the overview on."""
    host = looking.collector.web
    paths: set[str] = set()
    waiting = [f"/?{SPAN}"]
    while waiting:
        address = waiting.pop()
        path = urlsplit(address).path
        if path in paths:
            continue
        paths.add(path)
        with closing(HTTPConnection(host, timeout=60)) as connection:
            connection.request("GET", address, headers={"Accept": "text/html"})
            answer = connection.getresponse()
            body = answer.read()
        assert answer.status < 400, (address, answer.status, body[:300])
        if "html" in (answer.getheader("Content-Type") or ""):
            found = re.findall(r'(?:href|data-part)="(/(?!api/)[^"#]*)', body.decode())
            waiting += map(unescape, found)
    assert {page.path for page in PAGES if page.nav} <= paths
    assert {"/alert", "/rule", "/model/rows/record"} <= paths


def test_from_an_alert_to_its_rows(looking: Looking) -> None:
    """A person sees at once that something is wrong, and one click leads to exactly the rows behind it."""
    page = looking.page("/")
    assert "1 alert firing" in page.inner_text("#firing")
    assert page.title().startswith("(1) ")
    page.click("text=Rows >> nth=-1")
    page.wait_for_selector("table.rows")
    chips = page.locator(".chip").all_inner_texts()
    assert any("inputs.plan = pro" in chip for chip in chips), chips
    times = page.locator("table.rows tbody tr").count()
    assert times == 30
    page.wait_for_selector("aside .total")
    assert page.inner_text("aside .total") == "30 rows"
    page.context.close()


def test_a_phone_shows_which_page_it_is_on(looking: Looking) -> None:
    """Its link is brought into sight, while the page stays where somebody has scrolled to meanwhile."""
    page = looking.page("/", viewport={"width": 360, "height": 740})
    page.context.add_init_script("addEventListener('DOMContentLoaded', () => scrollTo(0, 200))")
    looking.go(page, "/system")
    page.wait_for_function(
        "() => { const at = document.querySelector('.top [aria-current]').getBoundingClientRect();"
        " return at.left >= 0 && at.right <= innerWidth; }"
    )
    assert page.evaluate("() => scrollY") == 200
    page.context.close()


def test_charts_by_mouse(looking: Looking) -> None:
    """Pointing tells values, dragging takes the whole page to a range, a double click goes back."""
    page = looking.page(MODEL)
    plot = page.locator("figure .u-over").first
    box = plot.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40)
    assert re.search(r"2026-01-0\d \d\d:00", page.locator("figure .tip").first.inner_text())
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40, steps=4)
    with page.expect_navigation():
        page.mouse.up()
    page.wait_for_selector("html[data-ready]")
    assert re.search(r"from=2026-01-01T1\d.*to=2026-01-02T0\d", page.url.replace("%3A", ":")), page.url
    with page.expect_navigation():
        page.locator("figure .u-over").first.dblclick()
    assert "from=" not in page.url
    page.context.close()


def test_another_range_in_place(looking: Looking) -> None:
    """Dragging shows another range without leaving the page: charts, links and parts of it; back is back."""
    page = looking.page(MODEL)
    page.evaluate("() => { window.stayed = document.querySelectorAll('figure canvas')[1]; }")
    before = page.locator("figure .plot").first.get_attribute("aria-label")
    counted = page.locator("figcaption [data-per]")
    assert counted.first.get_attribute("data-per") == "hour"
    box = page.locator("figure .u-over").first.bounding_box()
    page.locator("figure .plot").first.focus()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 40, steps=4)
    page.mouse.up()
    of_it = "() => ['.tabs a', '.exports a', '.top nav a'].every((at) => /from=2026-01-01T1/.test("
    page.wait_for_function(of_it + "decodeURIComponent(document.querySelector(at).href)))")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector(".totals:not([aria-busy]) dt")
    assert page.locator("figure .plot").first.get_attribute("aria-label") != before
    assert counted.first.get_attribute("data-per") == "5 minutes"
    assert page.evaluate("() => document.activeElement.matches('figure .plot') && window.stayed.isConnected")
    drawn = "() => [...document.querySelectorAll('figure canvas')].slice(0, 3).map((it) => it.toDataURL())"
    in_place, there = page.evaluate(drawn), page.url
    page.go_back()
    page.wait_for_function("() => !/from=2026-01-01T1/.test(document.querySelector('.tabs a').href)")
    assert page.locator("figure .plot").first.get_attribute("aria-label") == before
    assert page.evaluate("() => window.stayed.isConnected")
    page.goto(there)
    page.wait_for_selector("html[data-ready]")
    assert page.evaluate(drawn) == in_place  # as where a page begins with this range
    assert looking.said == []
    page.context.close()


def test_what_is_in_view_comes_first(looking: Looking) -> None:
    """For another range, charts in view are asked for at once, others that were shown after these."""
    page = looking.page(MODEL)
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => !document.querySelector('figure .drawn[aria-busy]')")
    page.evaluate("() => scrollTo(0, 0)")
    told: list[str] = []
    panel = re.compile(r"panels/([^?]*)")
    for event, what in (("request", "asked"), ("requestfinished", "came")):
        page.on(event, lambda it, what=what: told.extend(f"{what} {each}" for each in panel.findall(it.url)))
    page.locator(".range a", has_text="30d").click()
    page.wait_for_function("() => !document.querySelector('figure .drawn[aria-busy]')")
    assert told.index("came model/service") < told.index("asked model/fields"), told
    page.context.close()


MARKED = """() => {
  const frame = window.requestAnimationFrame;
  window.requestAnimationFrame = (then) => frame((at) => { performance.mark("frame"); then(at); });
}"""
ORDER = """() => performance.getEntries().flatMap(({ name, startTime, responseEnd }) => {
  const panel = name.match(/panels\\/([^?]*)/)?.[1];
  if (panel) return [[startTime, `asked ${panel}`], [responseEnd, `came ${panel}`]];
  return name === "frame" ? [[startTime, name]] : [];
}).sort(([one], [other]) => one - other).map(([, what]) => what)"""


def test_what_is_in_view_is_painted_first(looking: Looking) -> None:
    """What else a page asks for waits for a frame with the charts in view, which it would hold up."""
    page = looking.page(MODEL)
    page.evaluate("() => scrollTo(0, document.body.scrollHeight)")
    page.wait_for_function("() => !document.querySelector('figure .drawn[aria-busy]')")
    page.evaluate("() => { scrollTo(0, 0); performance.clearResourceTimings(); }")
    page.evaluate(MARKED)
    page.locator(".range a", has_text="30d").click()
    page.wait_for_url("**last=30d*")
    page.wait_for_function("() => !document.querySelector('figure .drawn[aria-busy]')")
    told = page.evaluate(ORDER)
    assert "frame" in told[told.index("came model/service") : told.index("asked model/fields")], told
    page.context.close()


def test_a_place_on_a_page_is_no_other_range(looking: Looking) -> None:
    """Who goes to a place on a page whose range was chosen by a link has no chart drawn again for it."""
    page = looking.page(MODEL)
    page.locator(".range a", has_text="30d").click()
    page.wait_for_url("**last=30d*")
    page.wait_for_selector("html[data-ready]")
    goes = "addEventListener('hashchange', () => done()); location.hash = 'main';"
    page.evaluate(f"() => new Promise((done) => {{ {goes} }})")
    assert page.get_attribute("html", "data-ready") == "yes"
    page.context.close()


DRAWN = """
(title) => {
  const figure = [...document.querySelectorAll("figure")].find((each) => each.innerText.startsWith(title));
  const canvas = figure.querySelector("canvas");
  const hue = getComputedStyle(document.documentElement).getPropertyValue("--s1").trim();
  const wanted = [1, 3, 5].map((place) => parseInt(hue.slice(place, place + 2), 16));
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let found = 0;
  for (let at = 0; at < data.length; at += 4) found += wanted.every((hue, band) => data[at + band] === hue);
  return found;
}
"""
"""How many pixels of a chart have the colour of its first curve."""


def test_a_value_between_none_is_seen(looking: Looking) -> None:
    """Of a model that was asked once, charts with many steps show the one value, which no line leads to."""
    at = START + timedelta(hours=HOURS, minutes=30)
    record = prediction("once", "o1", epoch_ns(at), output={"value": 0.5})
    page = looking.page("/?last=90d")
    page.wait_for_selector(LISTENING, state="attached")
    assert looking.collector.post(request([record]))[0] == 200
    page.wait_for_function("() => document.querySelector('#cards').innerText.includes('once')")
    around = {"from": at - timedelta(minutes=30), "to": at + timedelta(minutes=30)}
    asked = {name: f"{time.isoformat()}Z" for name, time in around.items()}
    looking.go(page, "/model?" + urlencode({"name": "once", **asked}))
    page.wait_for_function("() => !document.querySelector('figure:has(canvas) .drawn[aria-busy]')")
    assert page.evaluate(DRAWN, "Calls that failed") > 0
    page.context.close()


def test_charts_by_keyboard(looking: Looking) -> None:
    """Arrows read point after point aloud, t shows the same numbers as a table, shift and enter zoom in."""
    page = looking.page(MODEL)
    page.locator("figure .plot").first.focus()
    page.keyboard.press("Home")
    first = page.inner_text(".announce")
    page.keyboard.press("ArrowRight")
    assert "2026-01-01 01:00" in page.inner_text(".announce") != first
    page.keyboard.press("t")
    rows = page.locator("figure").first.locator("tbody tr")
    assert rows.first.inner_text().split("\t")[0].startswith("2026-01-01 00:00")
    page.keyboard.press("Enter")  # the button that shows the chart again has the focus
    page.locator("figure .plot").first.focus()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("Shift+ArrowRight")
    with page.expect_navigation():
        page.keyboard.press("Enter")
    assert "from=2026-01-01T00" in page.url
    page.keyboard.press("?")
    assert page.locator("dialog.keys").is_visible()
    page.context.close()


def test_keys_lead_to_every_page(looking: Looking) -> None:
    """After g, each page of the navigation has a letter of its own, which the list of keys tells."""
    page = looking.page("/")
    page.keyboard.press("?")
    told = page.locator("dialog.keys dd", has_text="go to a page").inner_text().removeprefix("go to a page: ")
    page.keyboard.press("Escape")
    letters = dict(reversed(each.split()) for each in told.split(", "))
    assert letters.keys() == {each.nav for each in PAGES if each.nav and not each.of_model}
    for name, letter in letters.items():
        page.keyboard.press("g")
        page.keyboard.press(letter)
        page.wait_for_function("(name) => document.querySelector('h1')?.innerText === name", arg=name)
        page.wait_for_selector("html[data-ready]")
        page.evaluate("() => document.activeElement.blur()")  # the page of SQL begins in its field
    page.context.close()


def test_sheets_are_left_by_keyboard(looking: Looking) -> None:
    """What opens over the page closes with Escape, which leads back, and when the focus goes on."""
    page = looking.page(MODEL)
    is_open = "() => document.querySelector('.exact').open"
    page.locator(".exact summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate(is_open)
    page.keyboard.press("Escape")
    assert not page.evaluate(is_open)
    assert page.evaluate("() => document.activeElement.matches('.exact summary')")
    page.keyboard.press("Enter")
    page.locator("[data-key=later]").focus()
    assert not page.evaluate(is_open)
    page.context.close()


def test_answers_of_many_rows_are_shown(looking: Looking) -> None:
    """The SQL page draws and lists what there is, however many rows an answer has."""
    sql = "SELECT TIMESTAMP '2026-01-01' + to_minutes(range) AS time, range AS value FROM range(150_000)"
    page = looking.page("/sql?" + urlencode({"q": sql}))
    page.wait_for_selector("[data-answer] table")
    assert "The first 500 of 150" in page.inner_text("[data-answer]")
    assert page.locator("[data-answer] .drawn").is_visible()
    assert looking.said == []
    page.context.close()


def test_durations_read_the_same_in_pages_and_in_charts(looking: Looking) -> None:
    """Both languages know the lowest bin, of which nobody knows how short its durations were."""
    page = looking.page(MODEL)
    scripts = page.locator("script[type=module]").first.get_attribute("src").rpartition("/")[0]
    asked = [f"{scripts}/format.js", DURATIONS.edges[:3]]
    told = page.evaluate(
        "async ([from, all]) => { const f = await import(from); "
        "return all.map((each) => f.number(each, 'ms')); }",
        asked,
    )
    assert told == [milliseconds_from_bins(edge) for edge in DURATIONS.edges[:3]]
    assert told[0].startswith("≤ ")
    page.context.close()


def test_a_theme_that_is_chosen_stays(looking: Looking) -> None:
    """The button turns the colours round, for the next pages too, without a flash of the others."""
    page = looking.page("/", color_scheme="light")
    light = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.click("[data-theme-toggle]")
    dark = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    looking.go(page, MODEL)
    assert page.evaluate("() => document.documentElement.dataset.theme") == "dark"
    assert page.evaluate("() => getComputedStyle(document.body).backgroundColor") == dark != light
    page.context.close()


def test_what_is_new_is_shown_as_it_comes(looking: Looking) -> None:
    """A prediction that comes is counted on a page that is open, without anybody doing anything."""
    page = looking.page("/?last=90d")
    page.wait_for_selector(LISTENING, state="attached")
    before = page.locator(".card").count()
    record = prediction("live", "l1", epoch_ns(START) + HOURS * 3_600_000_000_000, output={"value": 1.0})
    assert looking.collector.post(request([record]))[0] == 200
    page.wait_for_function(f"() => document.querySelectorAll('.card').length === {before + 1}")
    assert "live" in page.inner_text("#cards")
    page.context.close()


def test_what_is_new_is_shown_after_another_range_in_place(looking: Looking) -> None:
    """Charts follow what comes once a range that moves is shown, whatever the page began with."""
    first = epoch_ns(START) + HOURS * 3_600_000_000_000
    records = [prediction("followed", f"f{at}", first + at, output={"value": 1.0}) for at in range(2)]
    page = looking.page("/?last=90d")
    page.wait_for_selector(LISTENING, state="attached")
    assert looking.collector.post(request(records[:1]))[0] == 200
    page.wait_for_function("() => document.querySelector('#cards').innerText.includes('followed')")
    counted = "SELECT count(*) AS n FROM profiles WHERE table_name = 'followed'"
    wait_until(lambda: looking.collector.ask(counted)[0]["n"])  # a range that stays shows what is there
    looking.go(page, f"/model?name=followed&{SPAN}")
    page.wait_for_selector("figure .plot")
    page.evaluate("() => { window.stayed = true; }")
    page.locator(".range a", has_text="90d").click()
    page.wait_for_selector("body[data-moves=yes] .presets [aria-current]")
    page.wait_for_selector("html[data-ready]")
    page.wait_for_selector(LISTENING, state="attached")
    with page.expect_request(lambda asked: "/api/v1/panels/model/service" in asked.url):
        assert looking.collector.post(request(records[1:]))[0] == 200
    assert page.evaluate("() => window.stayed")
    page.context.close()


HELD = """() => {
  const [go, now] = [window.fetch, Date.now];
  window.held = [];
  Date.now = () => now() + 60_000 * held.length; // a page looks when it has not for a while
  const hold = (answer) => held.push(answer);
  window.fetch = (at, ...more) => (at === location.href ? new Promise(hold) : go(at, ...more));
}"""
ANSWERED = """([place, title]) => {
  held[place]({ ok: true, text: async () => `<title>${title}</title>` });
  return new Promise((taken) => setTimeout(() => taken(document.title)));
}"""


def test_an_answer_that_a_later_one_overtook_is_passed_over(looking: Looking) -> None:
    """Of two answers with what is new, a page goes on to show the one that was asked for last."""
    page = looking.page("/?last=90d")
    page.wait_for_selector(LISTENING, state="attached")
    page.evaluate(HELD)
    for number in (1, 2):
        record = prediction("overtaken", f"v{number}", epoch_ns(START) + number, output={"value": 1.0})
        assert looking.collector.post(request([record]))[0] == 200
        page.wait_for_function("(number) => held.length === number", arg=number)
    assert page.evaluate(ANSWERED, [1, "newer"]) == "newer"
    assert page.evaluate(ANSWERED, [0, "older"]) == "newer"
    page.context.close()


STILL = "window.ResizeObserver = class { observe() {} disconnect() {} unobserve() {} };"
"""Printers draw a page at once: no script learns how wide the paper is."""
OUTSIDE = """
() => [...document.querySelectorAll("figure")].flatMap((figure) => {
  const room = figure.getBoundingClientRect();
  return [...figure.querySelectorAll("canvas, svg, table, .legend")]
    .filter((each) => each.getBoundingClientRect().right > room.right + 1)
    .map((each) => `${figure.querySelector("figcaption").innerText}: ${each.tagName} beyond its column`);
})
"""


def test_charts_stay_in_their_columns_on_paper(looking: Looking) -> None:
    """Paper is narrower than a screen: what is drawn shrinks with its column; the range of time is told."""
    found: list[str] = []
    for address in (MODEL, f"/model/explore?name=churn&{SPAN}"):
        page = looking.page("/")
        page.context.add_init_script(STILL)
        looking.go(page, address)
        page.wait_for_selector("figure canvas")
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 700, "height": 1000})
        found += [f"{address}: {each}" for each in page.evaluate(OUTSIDE)]
        assert page.locator(".printed").inner_text() == "01 Jan 2026 00:00 \N{EN DASH} 03 Jan 2026 04:00 UTC"
        assert not page.locator(".presets").is_visible()
        page.context.close()
    assert found == []


def test_paper_is_light_and_has_every_chart(looking: Looking) -> None:
    """At night, too, what is printed by the key is in the colours of day, with charts nobody scrolled to."""
    page = looking.page("/", color_scheme="light")
    page.click("[data-theme-toggle]")
    looking.go(page, MODEL)
    colour = "() => getComputedStyle(document.body).color"
    dark = page.evaluate(colour)
    page.evaluate("""() => {
      window.print = () => { window.missing = document.querySelectorAll(".drawn[aria-busy]").length; };
      addEventListener("beforeprint", (event) => {
        if (event.isTrusted) window.printed = getComputedStyle(document.body).color;
      });
    }""")
    assert page.locator(".drawn[aria-busy]").count() > 0
    page.keyboard.press("Control+p")
    page.wait_for_function("() => window.missing !== undefined")
    assert page.evaluate("() => window.missing") == 0
    page.pdf()
    assert page.evaluate("() => window.printed") != dark
    assert page.evaluate(colour) == dark
    page.emulate_media(media="print")  # without scripts as well
    assert page.evaluate(colour) != dark
    page.context.close()


def test_pages_are_light(looking: Looking) -> None:
    """A first visit to the heaviest page takes less than 100 KB, packed; its scripts less than 60 KB."""
    page = looking.browser.new_page()
    weights: dict[str, int] = {}

    def weigh(response: Any) -> None:
        if not response.url.endswith("/events"):
            weights[response.url] = len(gzip.compress(response.body(), 6))

    page.on("response", weigh)
    looking.go(page, MODEL)
    assert sum(weights.values()) < 100_000
    assert sum(size for url, size in weights.items() if url.endswith(".js")) < 60_000
    page.close()
