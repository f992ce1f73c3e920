"""The explorer in a browser: what a reader sees, moves and links to."""

import re
import time
from collections import Counter

import browser
import pytest
from frameworks import needed
from reach import reached

keys = needed("selenium.webdriver.common.keys").Keys
wait = needed("selenium.webdriver.support.wait").WebDriverWait

MOVE = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
RIGHTMOST = """
    const right = (element) => element.getBoundingClientRect().right;
    return Math.max(...[...document.querySelectorAll("article *")].map(right));
"""
READ_CLIPBOARD = "navigator.clipboard.readText().then(arguments[0])"
PATIENCE = 60  # seconds; the page itself takes a few


@pytest.fixture
def page(driver, address):
    return Page(driver, f"{address}/explorer.html")


class Page:
    """The page as a reader has it: opened anew, at a state or none."""

    def __init__(self, driver, address):
        self.driver, self.address = driver, address
        browser.resize(driver, 1280)
        self.open()

    def open(self, state=""):
        self.driver.get("about:blank")  # a new hash alone would not load the page again
        self.driver.get(self.address + state)
        self.wait(lambda: self.text("style"))

    def find(self, css):
        return self.driver.find_element("css selector", css)

    def all(self, css):
        return self.driver.find_elements("css selector", css)

    def text(self, name):
        return self.find(f"[data-shows={name}]").text

    def wait(self, condition):
        return wait(self.driver, PATIENCE, 0.05).until(lambda _: condition())

    def slide(self, **values):
        """Moves sliders; `train_h` stands for train-h."""
        for name, value in values.items():
            slider = self.find(f"#explorer-{name.replace('_', '-')}")
            self.driver.execute_script(MOVE, slider, value)

    def press(self, css):
        """Presses a button or link by the keyboard: the theme scrolls smoothly, under a click."""
        self.find(css).send_keys(keys.ENTER)

    def values(self):
        inputs = self.all(".explorer input")
        return {each.get_attribute("name"): int(each.get_attribute("value")) for each in inputs}

    def hash(self):
        return self.driver.execute_script("return location.hash")

    def share(self, delay):
        return float(self.find(f"[data-shows=delay-{delay}]").get_attribute("data-share"))

    def updates(self):
        return int(self.text("updates").split()[0])


def counts(T, horizon, stride):
    """How many errors reach how many steps, as the library has it."""
    return Counter(reached(T, horizon, stride).sum(axis=1).tolist())


def counts_in(text):
    """The same as the page words it."""
    found = Counter()
    for first, last, errors in re.findall(r"(\d+)(?: to (\d+))? steps? back: (\d+)", text):
        found |= {steps: int(errors) for steps in range(int(first), int(last or first) + 1)}
    return found


def test_nothing_fails_and_nothing_is_asked_of_other_hosts(page, address):
    browser.console_errors(page.driver), browser.requested(page.driver)
    page.open("#updates=20")
    page.wait(lambda: page.updates() == 20)
    assert browser.console_errors(page.driver) == []
    urls = browser.requested(page.driver)
    assert any(url.endswith("explorer.js") for url in urls)
    own = f"{address}/", "data:", "about:"
    assert [url for url in urls if not url.startswith(own)] == []


@pytest.mark.parametrize("of", [(49, 7, 1), (49, 7, 7), (23, 9, 4), (5, 12, 3)], ids=str)
def test_counts_are_the_librarys(page, of):
    page.slide(**dict(zip(("T", "h", "stride"), of, strict=True)))
    assert counts_in(page.text("counts")) == counts(*of)


def test_sliders_move_the_picture(page):
    paths = lambda: [path.get_attribute("d") for path in page.all("[data-shows=picture] .reached")]
    for of in ((49, 7, 1), (10, 4, 3)):
        page.slide(**dict(zip(("T", "h", "stride"), of, strict=True)))
        assert "".join(paths()).count("M") == reached(*of).sum()  # cells
        assert len(paths()) == of[1]  # a shade for every lag
    assert len(page.all("[data-shows=picture] .block-end")) == 3
    page.slide(error=8)
    assert page.text("one-error") == "The error of step 8 reaches steps 6 to 8: 3 steps."


def test_a_link_sets_the_schedule_and_leaves_the_rest(page):
    page.slide(lag_h=9)
    page.press("[href='#T=49&h=7&stride=7']")
    page.wait(lambda: page.text("style") == "epochwise, BPTT(7; 7)")
    assert page.values()["lag-h"] == 9


def test_state_survives_a_reload_by_the_address(page):
    page.slide(T=30, h=9, stride=4, error=12, train_h=3, train_stride=2, seed=7, delay=6, lag_h=11)
    before = page.values()
    page.wait(lambda: "lag-h=11" in page.hash())
    page.driver.refresh()
    page.wait(lambda: page.text("style"))
    assert page.values() == before
    assert (before["T"], before["stride"], before["seed"], before["delay"]) == (30, 4, 7, 6)


def test_a_link_to_a_heading_stays_until_something_is_moved(page):
    page.open("#which-delays-are-learnt")
    time.sleep(0.8)  # longer than the pause between two addresses
    assert page.hash() == "#which-delays-are-learnt"
    page.slide(h=9)
    page.wait(lambda: "h=9" in page.hash())


def test_an_address_trains_as_far_as_it_says(page):
    page.open("#train-h=2&updates=30")
    page.wait(lambda: page.updates() == 30)
    first = page.share(2)
    page.open("#train-h=2&updates=30")
    page.wait(lambda: page.updates() == 30)
    assert page.text("run") == "Continue" and page.share(2) == first


def test_keyboard_moves_a_slider(page):
    slider = page.find("#explorer-h")
    slider.send_keys(keys.ARROW_RIGHT)
    assert slider.get_attribute("value") == "8"
    assert page.find("output[for=explorer-h]").text == "8"
    assert counts_in(page.text("counts")) == counts(49, 8, 1)


def test_the_tab_key_visits_every_control_and_shows_where_it_is(page):
    controls = page.all(".explorer :is(a, button, input)")
    page.driver.execute_script("arguments[0].focus()", controls[0])
    visited = [page.driver.switch_to.active_element]
    while visited[-1] != controls[-1] and len(visited) < 2 * len(controls):
        visited[-1].send_keys(keys.TAB)
        visited.append(page.driver.switch_to.active_element)
    assert [each for each in visited if each in controls] == controls  # texts have links too
    outline = visited[-1].value_of_css_property
    assert outline("outline-style") == "solid" and outline("outline-width") == "3px"


def test_everything_has_a_name_and_counts_are_announced(page):
    for control in page.all(".explorer :is(input, button, [role=img])"):
        assert control.accessible_name, control.get_attribute("outerHTML")
    live = page.find("dl[aria-live=polite]")
    assert live.find_element("css selector", "[data-shows=counts]").text


def test_a_delay_is_learnt_below_the_horizon_and_not_beyond(page):
    page.slide(train_h=3)
    page.press("[data-shows=run]")
    page.wait(lambda: page.updates() >= 150)
    page.press("[data-shows=run]")
    assert page.share(2) > 0.9
    assert page.share(6) < 0.2 and page.share(8) < 0.2
    assert "learnt: delay 2" in page.text("status")


def test_pause_stops_and_reset_begins_anew(page):
    run = page.find("[data-shows=run]")
    page.press("[data-shows=run]")
    page.wait(lambda: page.updates() > 5)
    assert run.text == "Pause"
    page.press("[data-shows=run]")
    paused = page.updates()
    page.slide(lag_h=2)
    assert page.updates() == paused and run.text == "Continue"
    page.press("[data-shows=reset]")
    assert page.updates() == 0 and run.text == "Start"


def test_horizon_shades_its_bars_which_add_up_to_its_gradient(page):
    page.open("#updates=40&train-h=5&delay=4")
    page.wait(lambda: page.updates() == 40)
    for horizon in (1, 5, 24):
        page.slide(lag_h=horizon)
        assert len(page.all("[data-shows=spectrum] .kept")) == horizon
        assert len(page.all("[data-shows=spectrum] .dropped")) == 24 - horizon
        difference = re.search(r"difference (\S+) of its norm", page.text("sum")).group(1)
        assert float(difference) < 1e-14


def test_the_copy_button_copies(page):
    permissions = {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.driver.execute_cdp_cmd("Browser.grantPermissions", permissions)
    page.press("[data-copies=explorer-call]")
    page.wait(lambda: page.text("copied") == "Copied.")
    assert (
        page.driver.execute_async_script(READ_CLIPBOARD)
        == "truncated_scan(step, carry, xs, horizon=7, stride=1)"
    )


@pytest.mark.parametrize("state", ["", "#T=64&h=64&stride=64&lag-h=24&train-h=12&delay=8"])
def test_a_phone_does_not_scroll_sideways(page, state):
    """Nothing reaches beyond the screen; the theme scrolls a part of the page, not the whole."""
    browser.resize(page.driver, 390)
    page.open(state)
    assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 390
    assert page.driver.execute_script(RIGHTMOST) <= 390
