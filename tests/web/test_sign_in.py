"""Who comes in, how, what the browser is given, and what the server refuses whatever the page offers."""

import re

from playwright.sync_api import Page, expect

from tests.web.conftest import Dashboard, go, picture, sign_in


def asked(page: Page, method: str, path: str, csrf: str | None) -> int:
    """The status of a request that the page itself would not send."""
    headers = {"Content-Type": "application/json", **({"X-CSRF-Token": csrf} if csrf else {})}
    return page.evaluate(
        "([method, path, headers]) => fetch(`/v1/${path}`, {method, headers, body: '{}'}).then(one => one.status)",
        [method, path, headers],
    )


def test_a_user_signs_in_sees_live_figures_and_signs_out(dashboard: Dashboard, fresh: Page) -> None:
    expect(fresh.get_by_role("heading", name="Sign in")).to_be_visible()
    picture(fresh, "sign-in")
    fresh.get_by_label("User", exact=True).fill("admin")
    fresh.get_by_label("Password", exact=True).fill("wrong horse battery")
    fresh.get_by_role("button", name="Sign in", exact=True).click()
    expect(fresh.get_by_role("alert")).to_contain_text("name or password is wrong")
    sign_in(fresh, "admin")
    expect(fresh.get_by_text("All is well")).to_be_visible()
    expect(fresh.get_by_text("Safe, on 2 mirrors")).to_be_visible()
    with dashboard.server.connect() as nfs:
        for number in range(20):
            nfs.write_file(f"/live{number}", b"x" * 262144)
    expect(fresh.locator(".stat", has_text="Written")).to_contain_text(re.compile("[KM]iB/s"))
    mine = {one["name"]: one for one in fresh.context.cookies()}["__Host-caudal"]
    assert (mine["httpOnly"], mine["secure"], mine["sameSite"]) == (True, True, "Strict")
    fresh.reload()
    expect(fresh.get_by_role("heading", name="Overview")).to_be_visible()
    fresh.get_by_role("button", name="Sign out").click()
    expect(fresh.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not fresh.context.cookies()


def test_a_viewer_is_offered_nothing_to_change_and_could_not(fresh: Page) -> None:
    sign_in(fresh, "viewer")
    for name in ("Exports", "Quotas", "Cache", "Journal", "Alerts", "Settings"):
        go(fresh, name)
        expect(fresh.locator("[aria-busy=true]")).to_have_count(0)
        expect(fresh.locator("main button.primary, main button.danger")).to_have_count(0)
    csrf = fresh.evaluate("fetch('/v1/session').then(one => one.json()).then(one => one.csrf_token)")
    assert asked(fresh, "POST", "journal/flush", csrf) == 403


def test_another_tab_of_the_session_goes_on(dashboard: Dashboard, fresh: Page) -> None:
    sign_in(fresh, "operator")
    go(fresh, "Journal")
    assert asked(fresh, "POST", "journal/flush", None) == 403
    # The other tab takes the next CSRF token; the first asks for another when it is refused.
    other = dashboard.open(fresh.context)
    other.get_by_role("heading", name="Overview").wait_for()
    fresh.get_by_role("button", name="Flush now").click()
    expect(fresh.get_by_text("on its way to the store")).to_be_visible()


def test_a_token_begins_a_session_that_ends_with_it(dashboard: Dashboard, fresh: Page) -> None:
    made = dashboard.server.cli("token", "create", "--name", "ops", "--role", "operator").splitlines()[-1]
    fresh.get_by_role("button", name="Use a token").click()
    fresh.get_by_label("Token").fill(made)
    fresh.get_by_role("button", name="Sign in", exact=True).click()
    expect(fresh.get_by_role("heading", name="Overview")).to_be_visible()
    assert made not in str(fresh.context.cookies())
    assert made not in str(fresh.context.storage_state())
    go(fresh, "Journal")
    expect(fresh.get_by_role("button", name="Flush now")).to_be_enabled()
    dashboard.server.cli("token", "revoke", made.split("_")[1])
    # The page asks by itself, and is told.
    expect(fresh.get_by_role("heading", name="Sign in")).to_be_visible()
