"""What an operator does on the dashboard, and what clients then meet."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support import uml
from tests.support.caudal import Caudal
from tests.support.processes import wait_until
from tests.support.small_disk import SmallDisk
from tests.unit.admin_api.test_syslog import Collector
from tests.web.conftest import address_of, go, picture, wanted

MIB = 1 << 20


def row(page: Page, table: str, text: str) -> Locator:
    """Of a table the rows with a text."""
    return page.get_by_role("table", name=table).get_by_role("row").filter(has_text=text)


@pytest.fixture(scope="module")
def point(admin: Page, client: uml.Client, server: Caudal) -> Iterator[str]:
    """An export that was made on the page, mounted by a kernel client."""
    go(admin, "Exports")
    admin.get_by_role("button", name="Add an export").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("projects")
    dialog.get_by_label("Directory").fill("/projects")
    dialog.get_by_label("Clients of rule 1").fill("192.168.0.0/16")
    dialog.get_by_label("Identity of rule 1").select_option(label="root is root")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog).to_be_hidden()
    expect(row(admin, "Exports", "projects")).to_contain_text("served")
    with client.mounted("4.2", server.nfs_port, "/projects") as mounted:
        yield mounted


def test_an_export_is_made_mounted_changed_and_a_mistake_is_told(
    admin: Page, client: uml.Client, point: str
) -> None:
    client.run(f"echo hello > {point}/file && mkdir {point}/team")
    go(admin, "Exports")
    admin.get_by_role("button", name="Add an export").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Name", exact=True).fill("projects")
    dialog.get_by_label("Directory").fill("/projects")
    dialog.get_by_label("Clients of rule 1").fill("*")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("projects")
    admin.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    admin.get_by_role("button", name="Change projects").click()
    dialog.get_by_label("Read only, whatever the rules say").check()
    dialog.get_by_role("button", name="Save").click()
    expect(row(admin, "Exports", "projects")).to_contain_text("read only")
    assert "Read-only" in client.run(f"echo more > {point}/other", check=False).output
    admin.get_by_role("button", name="Change projects").click()
    dialog.get_by_label("Read only, whatever the rules say").uncheck()
    dialog.get_by_role("button", name="Save").click()
    expect(row(admin, "Exports", "projects")).to_contain_text("served")
    client.run(f"echo more > {point}/other")


def audited(page: Page, before: str, level: str) -> None:
    """Chooses in the export's form what is told of its files; the form knows what was."""
    page.get_by_role("button", name="Change projects").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Audit of files")).to_have_value(before)
    dialog.get_by_label("Audit of files").select_option(level)
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()


def level(page: Page) -> Locator:
    return row(page, "Exports", "projects").locator("[data-label=Audit]")


def test_an_audit_is_switched_on_and_what_clients_do_is_told(
    admin: Page, client: uml.Client, point: str, server: Caudal, collector: Collector
) -> None:
    go(admin, "Exports")
    expect(level(admin)).to_have_text("off")
    client.run(f"echo one > {point}/untold")
    audited(admin, "off", "changes")
    expect(level(admin)).to_have_text("changes")
    client.run(f"echo two > {point}/told && sync {point}/told && chmod 600 {point}/told")
    card = admin.get_by_role("region", name="Audit of files")
    expect(card).to_contain_text(address_of(collector))
    written = server.state / "audit/audit.jsonl"
    expect(card).to_contain_text(str(written))
    wait_until(lambda: written.exists() and '"/projects/told"' in written.read_text(), "it is written there")
    wait_until(lambda: any("file.setattr" in line for line in collector.got), "and is sent")
    assert not any("untold" in line for line in (written.read_text(), *collector.got))
    admin.reload()
    expect(level(admin)).to_have_text("changes")
    expect(card.locator("dd", has_text="none")).to_be_visible()
    picture(admin, "exports")
    audited(admin, "changes", "off")
    expect(level(admin)).to_have_text("off")


def figure(page: Page, column: str) -> int:
    """Of the export's row on the page Cache: reads, in all or from one place."""
    cell = row(page, "Reads by export", "projects").locator(f"[data-label={column}]")
    return int(re.sub(r".*\(|\D", "", cell.inner_text())) if cell.count() else 0


def test_reads_are_seen_by_export_and_place(
    admin: Page, client: uml.Client, point: str, server: Caudal
) -> None:
    client.run(
        f"mkdir {point}/warm && head -c {MIB} /dev/urandom > {point}/warm/file && sync {point}/warm/file"
    )
    server.flush()
    server.cli("cache", "drop")
    go(admin, "Cache")
    before = {column: figure(admin, column) for column in ("Reads", "Memory", "Store")}
    client.run(
        f"for turn in $(seq 30); do echo 3 > /proc/sys/vm/drop_caches; cat {point}/warm/file > /dev/null; done"
    )
    wait_until(lambda: figure(admin, "Reads") >= before["Reads"] + 30, "the export's row rises")
    wait_until(lambda: figure(admin, "Memory") > before["Memory"], "most came from memory")
    wait_until(lambda: figure(admin, "Store") > before["Store"], "the first ones from the store")
    expect(row(admin, "Hottest directories", "/projects/warm")).to_contain_text("/s")
    expect(row(admin, "Hottest files", "/projects/warm/file")).to_contain_text("/s")
    chart = admin.get_by_role("region", name="Reads by export")
    chart.get_by_label("Export that the chart shows").select_option("projects")
    expect(chart.locator(".legend")).to_contain_text(re.compile(r"Store.*%"))
    chart.get_by_role("button", name="24 h").click()
    expect(chart.locator(".chart-title")).to_have_text("Shares of reads, last 24 h")
    expect(row(admin, "Reads by export", "projects")).to_be_visible()


def test_a_quota_is_set_met_by_a_client_and_shown(admin: Page, client: uml.Client, point: str) -> None:
    go(admin, "Quotas")
    admin.get_by_role("link", name="projects/").click()
    admin.get_by_role("button", name="Set quota on /data/projects/team").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Bytes, at most").fill("some")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.get_by_role("alert")).to_contain_text("some is no amount of bytes")
    dialog.get_by_label("Bytes, at most").fill("1 MiB")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    limited = row(admin, "Quotas", "/projects/team")
    expect(limited).to_contain_text("0 B of 1 MiB")
    client.run(f"head -c {MIB} /dev/zero > {point}/team/full && sync {point}/team/full")
    refused = client.run(f"echo more >> {point}/team/full && sync {point}/team/full", check=False)
    assert "Disk quota exceeded" in refused.output
    expect(limited).to_contain_text("1 MiB of 1 MiB")
    expect(limited).to_contain_text("used up")
    # Sums of trees come with the files' flush.
    expect(row(admin, "Entries", "team/")).to_contain_text("1 MiB")
    picture(admin, "quotas")
    admin.get_by_role("button", name="Remove the quota of /projects/team").click()
    expect(limited).to_have_count(0)
    client.run(f"echo more >> {point}/team/full && sync {point}/team/full")


def test_a_shelf_is_added_and_taken_away(admin: Page, server: Caudal) -> None:
    shelf = server.state / "shelf"
    shelf.mkdir()
    go(admin, "Cache")
    dialog = admin.get_by_role("dialog")
    admin.get_by_role("button", name="Add a shelf").click()
    dialog.get_by_label("Directory on the server").fill(str(shelf) + "/missing")
    dialog.get_by_role("button", name="Add", exact=True).click()
    expect(dialog.get_by_role("alert")).to_be_visible()
    dialog.get_by_label("Directory on the server").fill(str(shelf))
    dialog.get_by_label("Size").fill("64 MiB")
    dialog.get_by_role("button", name="Add", exact=True).click()
    added = row(admin, "Shelves", str(shelf))
    expect(added).to_contain_text("ok")
    expect(added).to_contain_text("of 64 MiB")
    assert str(shelf) in [one["path"] for one in server.status()["cache"]["shelves"]]
    admin.get_by_role("button", name=f"Remove {shelf}", exact=True).click()
    dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(added).to_have_count(0)


def test_a_mirror_is_lost_told_and_rebuilt(admin: Page, server: Caudal, disks: list[SmallDisk]) -> None:
    go(admin, "Journal")
    lost = row(admin, "Mirrors", str(disks[1].path))
    expect(lost).to_contain_text("healthy")
    for path in disks[1].path.iterdir():
        path.unlink()
    disks[1].fill()
    with server.connect(timeout_s=30) as nfs:
        for number in range(24):
            nfs.write_file(f"/one{number}", b"x" * 300_000)
        expect(lost).to_contain_text(re.compile("lost|rebuilding"))
        expect(lost).not_to_contain_text("healthy")
        picture(admin, "journal")
        go(admin, "Overview")
        expect(admin.get_by_text("Needs action")).to_be_visible()
        expect(admin.get_by_text(f"the mirror {disks[1].path}")).to_be_visible()
        expect(admin.get_by_text("1 of 2 mirrors")).to_be_visible()
        disks[1].relieve()
        nfs.write_file("/meanwhile", b"x" * 300_000)
    go(admin, "Journal")
    expect(lost).to_contain_text("healthy", timeout=40_000)
    go(admin, "Overview")
    expect(admin.get_by_text("Safe, on 2 mirrors")).to_be_visible()


def busy(client: uml.Client, point: str) -> None:
    """Half a minute of reads and writes, so that there is something to see."""
    client.run(
        f"""cd {point}; end=$((SECONDS + 40)); n=0
        while [ $SECONDS -lt $end ]; do
            head -c $((n % 7 * 700000 + 400000)) /dev/urandom > busy$((n % 30)); sync busy$((n % 30))
            cat burst > /dev/null; echo 3 > /proc/sys/vm/drop_caches; n=$((n + 1)); sleep 0.2
        done""",
        timeout_s=90,
    )


def cost(page: Page) -> float:
    text = page.locator(".stat", has_text="Cost").locator("dd").first.inner_text()
    return float(text.removeprefix("€").replace(",", ""))


def test_a_burst_is_seen_and_its_cost_is_read(admin: Page, client: uml.Client, point: str) -> None:
    go(admin, "Cost")
    admin.get_by_role("button", name="Prices").click()
    dialog = admin.get_by_role("dialog")
    dialog.get_by_label("Currency").fill("EUR")
    # A cent for each MiB that clients move, so that the cost can be checked by head.
    dialog.get_by_label("A MiB a second, read or written by clients, for an hour").fill("36")
    dialog.get_by_label("An hour of the server").fill("0.2")
    dialog.get_by_label("Budget of a month").fill("50")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_be_hidden()
    expect(admin.locator(".stat", has_text="Cost")).to_contain_text("€")
    before = cost(admin)
    go(admin, "Overview")
    burst = client.start_command(f"head -c {24 * MIB} /dev/urandom > {point}/burst && sync {point}/burst")
    written = admin.locator(".stat", has_text="Written")
    expect(written).to_contain_text(re.compile("[KM]iB/s"))
    burst.wait(60)
    if wanted():
        busy(client, point)
        picture(admin, "overview")
        go(admin, "Cache")
        picture(admin, "cache")
        admin.get_by_role("region", name="Reads by export").scroll_into_view_if_needed()
        picture(admin, "cache-exports")
    go(admin, "Cost")
    expect(admin.locator(".stat", has_text="Cost")).to_contain_text("€")
    admin.wait_for_function(
        "least => Number(document.querySelector('.stat dd').innerText.replace(/[^0-9.]/g, '')) >= least",
        arg=before + 0.24,
    )
    assert cost(admin) - before < 0.3 or wanted()
    expect(row(admin, "Usage by export", "projects")).to_contain_text("MiB")
    picture(admin, "cost")
    go(admin, "Overview")
    expect(admin.get_by_text("of €50.00")).to_be_visible()


def test_a_flush_an_alert_and_a_token(admin: Page, server: Caudal) -> None:
    go(admin, "Journal")
    with server.connect() as nfs:
        nfs.write_file("/flushed", b"x" * 300_000)
    admin.get_by_role("button", name="Flush now").click()
    expect(row(admin, "Flushes", "Flush").first).to_contain_text("done")
    go(admin, "Alerts")
    admin.get_by_role("button", name="Change journal-full").click()
    dialog = admin.get_by_role("dialog")
    # The journal of a file system that was written to is never quite empty.
    dialog.get_by_label("Ends at or below (share)").fill("0")
    dialog.get_by_label("Fires above (share)").fill("0")
    dialog.get_by_label("For", exact=True).first.fill("0s")
    dialog.get_by_role("button", name="Save").click()
    admin.get_by_role("button", name="Acknowledge journal-full").first.click()
    dialog.get_by_label("Why").fill("a test")
    dialog.get_by_role("button", name="Acknowledge").click()
    expect(row(admin, "Alerts", "journal-full").first).to_contain_text("acknowledged")
    picture(admin, "alerts")
    server.cli("alert", "set", "journal-full", "--above", "1", "--clear", "0.9", "--clear-for", "0")
    expect(row(admin, "Alerts", "journal-full").first).to_contain_text("ended")
    go(admin, "Settings")
    admin.get_by_role("button", name="Make a token").click()
    dialog.get_by_label("Name", exact=True).fill("grafana")
    dialog.get_by_role("button", name="Make", exact=True).click()
    secret = dialog.locator(".secret").inner_text()
    assert secret.startswith("caudal_")
    shown = admin.evaluate(
        "token => fetch('/v1/health', {headers: {Authorization: `Bearer ${token}`}}).then(one => one.status)",
        secret,
    )
    assert shown == 200
    dialog.get_by_role("button", name="Done").click()
    admin.get_by_role("button", name="Revoke grafana").click()
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    expect(admin.get_by_text("There are no tokens.")).to_be_visible()


def test_dead_packs_are_collected_on_request(admin: Page) -> None:
    go(admin, "Objects")
    expect(admin.get_by_text("This store has no tiers.")).to_be_visible()
    admin.get_by_role("button", name="Collect now").click()
    ran = row(admin, "Collecting, moving", "Collect").first
    expect(ran).to_contain_text("done", timeout=60_000)


def test_access_tiers_are_set_where_the_store_has_them(admin: Page) -> None:
    """The store here is a directory: what one of Azure's would answer is put in its place."""
    policy = {
        "enabled": False,
        "cool_after_days": 30,
        "cold_after_days": None,
        "min_pack_bytes": MIB,
        "version": 3,
        "available": True,
    }
    due = {
        "packs": 4,
        "bytes": 64 * MIB,
        "reads": 16,
        "move_cost": 0.02,
        "month_cost": 0.5,
        "read_cost": 1.25,
    }
    none = {"packs": 0, "bytes": 0, "reads": 0, "move_cost": None, "month_cost": None, "read_cost": None}
    estimate = {"currency": "EUR", "cool": due, "cold": none, "month_now_cost": 1.0}
    sent: list[tuple[str | None, object]] = []

    def answer(route: Route) -> None:
        if route.request.method == "PUT":
            sent.append((route.request.headers.get("if-match"), route.request.post_data_json))
        route.fulfill(json=policy, headers={"ETag": '"3"'})

    admin.route("**/v1/objects/tiering", answer)
    admin.route("**/v1/objects/tiering/estimate", lambda route: route.fulfill(json=estimate))
    try:
        go(admin, "Exports")
        go(admin, "Objects")
        moved = row(admin, "What a run would move now", "cool")
        expect(moved).to_contain_text("64 MiB")
        expect(moved).to_contain_text("1.25")
        expect(row(admin, "What a run would move now", "cold")).to_contain_text("no price set")
        admin.get_by_role("button", name="Change").click()
        dialog = admin.get_by_role("dialog")
        dialog.get_by_label("Move packs once a day").check()
        dialog.get_by_label("Days without a read until Cold").fill("soon")
        dialog.get_by_role("button", name="Set").click()
        expect(dialog.get_by_role("alert")).to_contain_text("whole numbers")
        dialog.get_by_label("Days without a read until Cold").fill("180")
        dialog.get_by_role("button", name="Set").click()
        expect(dialog).to_be_hidden()
    finally:
        admin.unroute("**/v1/objects/tiering")
        admin.unroute("**/v1/objects/tiering/estimate")
    wanted = {"enabled": True, "cool_after_days": 30, "cold_after_days": 180, "min_pack_bytes": MIB}
    assert sent == [('"3"', wanted)]
