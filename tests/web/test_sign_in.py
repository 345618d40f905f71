"""Who comes in, how, and what the browser is given."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Dashboard, sign_in


@pytest.fixture
def page(dashboard: Dashboard) -> Iterator[Page]:
    with dashboard.context() as context:
        yield dashboard.open(context)


def test_a_user_signs_in_sees_live_figures_and_signs_out(dashboard: Dashboard, page: Page) -> None:
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_label("User", exact=True).fill("admin")
    page.get_by_label("Password", exact=True).fill("wrong horse battery")
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("name or password is wrong")
    sign_in(page, "admin")
    expect(page.get_by_text("All is well")).to_be_visible()
    expect(page.get_by_text("Safe, on 2 mirrors")).to_be_visible()
    with dashboard.server.connect() as nfs:
        for number in range(20):
            nfs.write_file(f"/live{number}", b"x" * 262144)
    expect(page.locator(".stat", has_text="Written").first).not_to_contain_text(" 0 B/s", timeout=10_000)
    cookies = {one["name"]: one for one in page.context.cookies()}
    mine = cookies["__Host-caudal"]
    assert (mine["httpOnly"], mine["secure"], mine["sameSite"]) == (True, True, "Strict")
    page.reload()
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert not page.context.cookies()
