"""All pages: for everybody (axe, phone, keyboard), light enough, and honest while the gateway is away."""

import os
import signal

import pytest
from playwright.sync_api import Page, expect

from tests.support.processes import ROOT, kill
from tests.web.conftest import PHONE, Dashboard, go, picture, settled, sign_in

PAGES = (
    "Overview",
    "Exports",
    "Quotas",
    "Limits",
    "Cache",
    "Journal",
    "Objects",
    "Activity",
    "Cost",
    "Alerts",
    "Settings",
)
DIALOGS = {
    "Exports": "Add an export",
    "Quotas": "Set a quota",
    "Limits": "Add a limit",
    "Cache": "Add a shelf",
    "Journal": "Add a mirror",
    "Cost": "Prices",
    "Alerts": "Silence",
    "Settings": "Add a user",
}
AXE = ROOT / "admin_api/web/node_modules/axe-core/axe.min.js"
MAX_LOADED_BYTES = 300_000


def violations(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is."""
    if not page.evaluate("typeof window.axe !== 'undefined'"):
        page.evaluate(AXE.read_text())
    found, passes = page.evaluate("axe.run().then(found => [found.violations, found.passes.length])")
    assert passes > 10, "axe looked at nothing"
    return [f"{one['id']}: {one['nodes'][0]['html'][:200]} ({one['help']})" for one in found]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_and_dialog_is_usable_by_everybody(dashboard: Dashboard, dark: bool) -> None:
    with dashboard.context(dark=dark) as context:
        shown = dashboard.open(context)
        found = {"Sign in": violations(shown)}
        sign_in(shown, "admin")
        for name in PAGES:
            go(shown, name)
            settled(shown)
            found[name] = violations(shown)
            if name in DIALOGS:
                shown.get_by_role("button", name=DIALOGS[name], exact=True).click()
                expect(shown.get_by_role("dialog")).to_be_visible()
                found[f"{name}: {DIALOGS[name]}"] = violations(shown)
                shown.keyboard.press("Escape")
                expect(shown.get_by_role("dialog")).to_have_count(0)
            if dark and name == "Overview":
                picture(shown, "overview-dark")
    assert not any(found.values()), {name: told for name, told in found.items() if told}


def test_a_phone_scrolls_in_one_direction_only(dashboard: Dashboard) -> None:
    with dashboard.context(phone=True) as context:
        shown = dashboard.open(context)
        sign_in(shown, "admin")
        wide: dict[str, int] = {}
        for name in PAGES:
            go(shown, name)
            settled(shown)
            wide[name] = shown.evaluate("document.documentElement.scrollWidth")
            if name in ("Overview", "Journal"):
                picture(shown, f"{name.lower()}-phone")
            if name in DIALOGS:
                shown.get_by_role("button", name=DIALOGS[name], exact=True).click()
                expect(shown.get_by_role("dialog")).to_be_visible()
                inside = "[document.querySelector('dialog')].map(one => one.scrollWidth - one.clientWidth)[0]"
                assert shown.evaluate(inside) <= 0, DIALOGS[name]
                shown.keyboard.press("Escape")
    assert set(wide.values()) == {PHONE["width"]}, wide


def test_what_a_browser_loads_is_small(dashboard: Dashboard) -> None:
    """All pages, from the first request on, as it comes over the network."""
    names: dict[str, str] = {}
    sizes: dict[str, int] = {}
    with dashboard.context() as context:
        page = context.new_page()
        devtools = context.new_cdp_session(page)
        devtools.on(
            "Network.requestWillBeSent",
            lambda told: names.update({told["requestId"]: told["request"]["url"]}),
        )
        devtools.on(
            "Network.loadingFinished",
            lambda told: sizes.update({told["requestId"]: int(told["encodedDataLength"])}),
        )
        devtools.send("Network.enable")
        page.goto("/")
        sign_in(page, "viewer")
        for name in PAGES:
            go(page, name)
            settled(page)
    loaded = [(size, names[one]) for one, size in sizes.items()]
    assert sum(size for size, name in loaded if name.endswith(".js")) > 20_000, "it came from a cache"
    assert sum(size for size, _ in loaded) < MAX_LOADED_BYTES, sorted(loaded)[-10:]


def test_a_keyboard_is_enough(fresh: Page) -> None:
    sign_in(fresh, "admin")
    fresh.reload()
    fresh.get_by_role("heading", name="Overview").wait_for()
    fresh.keyboard.press("Tab")
    expect(fresh.get_by_role("button", name="Skip to the page")).to_be_focused()
    fresh.keyboard.press("Enter")
    expect(fresh.locator("main")).to_be_focused()
    go(fresh, "Exports")
    opener = fresh.get_by_role("button", name="Add an export")
    opener.focus()
    fresh.keyboard.press("Enter")
    dialog = fresh.get_by_role("dialog")
    expect(dialog).to_be_visible()
    for _ in range(40):
        fresh.keyboard.press("Tab")
        assert fresh.evaluate(
            "document.activeElement === document.body || document.querySelector('dialog').contains(document.activeElement)"
        )
    fresh.keyboard.press("Escape")
    expect(opener).to_be_focused()


def test_the_chosen_colours_stay(fresh: Page) -> None:
    sign_in(fresh, "viewer")
    light = fresh.evaluate("getComputedStyle(document.body).backgroundColor")
    fresh.locator(".top").get_by_label("Colours").select_option("dark")
    dark = fresh.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    fresh.reload()
    fresh.get_by_role("heading", name="Overview").wait_for()
    assert fresh.evaluate("getComputedStyle(document.body).backgroundColor") == dark


def test_while_the_gateway_is_away_the_page_says_so_and_changes_nothing(
    dashboard: Dashboard, fresh: Page
) -> None:
    sign_in(fresh, "admin")
    expect(fresh.get_by_text("All is well")).to_be_visible()
    supervisor, gateway = dashboard.server.pid("supervisor"), dashboard.server.pid("ganesha")
    assert supervisor is not None
    assert gateway is not None
    # The supervisor would start it again within a moment.
    os.kill(supervisor, signal.SIGSTOP)
    try:
        kill(gateway)
        banner = fresh.locator(".banner")
        expect(banner).to_contain_text("The gateway does not answer")
        expect(banner).to_contain_text("Figures are those of")
        expect(fresh.get_by_text("Needs action")).to_be_visible()
        go(fresh, "Journal")
        expect(fresh.get_by_role("button", name="Flush now")).to_be_disabled()
        expect(fresh.get_by_role("table", name="Mirrors")).to_contain_text("healthy")
    finally:
        os.kill(supervisor, signal.SIGCONT)
    expect(banner).to_have_count(0, timeout=40_000)
    expect(fresh.get_by_role("button", name="Flush now")).to_be_enabled()
