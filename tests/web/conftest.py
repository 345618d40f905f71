"""A browser on the dashboard of a real server, both shared by the run."""

import base64
import hashlib
import io
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    expect,
    sync_playwright,
)

from tests.support.caudal import Caudal, undisturbed
from tests.support.small_disk import SmallDisk
from tests.unit.admin_api.test_syslog import Collector

CHROMIUM = "/usr/bin/chromium"
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 375, "height": 812}
PASSWORD = "correct horse battery"
# Small, so that losing a mirror and rebuilding it takes a moment.
OPTIONS = ("--segment-bytes", "4MiB", "--journal-limit-bytes", "64MiB", "--mirror-wait-s", "2")
DISK_BYTES = 160 << 20
# A machine that does much else at the same time is slow, not wrong.
expect.set_options(timeout=20_000)
PICTURES = Path(__file__).resolve().parents[2] / "docs/images"


def key_digest(certificate: Path) -> str:
    """How a browser is told to trust one certificate that nobody signed: the digest of its public key."""
    loaded = x509.load_pem_x509_certificate(certificate.read_bytes())
    key = loaded.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


@dataclass
class Dashboard:
    """The pages of one server in a browser. complaints: of its console; foreign: answers of others than the server."""

    server: Caudal
    browser: Browser
    complaints: list[str]
    foreign: list[str]

    @property
    def address(self) -> str:
        return f"https://localhost:{self.server.admin_port}/"

    def context(self, *, phone: bool = False, dark: bool = False) -> BrowserContext:
        return self.browser.new_context(
            viewport=PHONE if phone else DESKTOP,
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
            base_url=self.address,
        )

    def open(self, context: BrowserContext) -> Page:
        """A page whose console and requests are watched."""
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("response", self._answered)
        page.goto("/")
        return page

    def _heard(self, message: ConsoleMessage) -> None:
        # A refused request is told on the page; that the browser notes it, too, is no mistake of ours.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.complaints.append(f"{message.type}: {message.text}")

    def _answered(self, response: Response) -> None:
        if not response.url.startswith(self.address):
            self.foreign.append(response.url)


def sign_in(page: Page, name: str, password: str = PASSWORD) -> None:
    page.get_by_label("User", exact=True).fill(name)
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.get_by_role("heading", name="Overview").wait_for()


def go(page: Page, name: str) -> None:
    """Opens a page by its link; on a phone the links are behind a button."""
    menu = page.get_by_role("button", name="Menu", exact=True)
    if menu.is_visible():
        menu.click()
    page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
    page.get_by_role("heading", level=1, name=name).wait_for()


def settled(page: Page) -> None:
    """Everything that is read at first is there."""
    expect(page.locator("[aria-busy=true]")).to_have_count(0)


def address_of(collector: Collector) -> str:
    return f"tcp://127.0.0.1:{collector.server_address[1]}"


def wanted() -> bool:
    """Whether pictures for the documentation are asked for."""
    return bool(os.environ.get("CAUDAL_PICTURES"))


def picture(page: Page, name: str) -> None:
    """Takes one, where they are asked for."""
    if wanted():
        page.mouse.move(0, 0)
        settled(page)
        expect(page.locator(".notice")).to_have_count(0)
        PICTURES.mkdir(exist_ok=True)
        taken = Image.open(io.BytesIO(page.screenshot()))
        # 256 colours are enough, and a third of the size.
        taken.quantize(256).save(PICTURES / f"{name}.png", optimize=True)


@pytest.fixture(scope="session")
def disks(private_network: None) -> Iterator[list[SmallDisk]]:
    """Of the journal's two mirrors."""
    with ExitStack() as stack:
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="caudal-mirrors.")))
        yield [stack.enter_context(SmallDisk(path / f"journal{number}", DISK_BYTES)) for number in range(2)]


@pytest.fixture(scope="session")
def collector(private_network: None) -> Iterator[Collector]:
    """To which the audit of files goes."""
    made = Collector()
    yield made
    made.end()


@pytest.fixture(scope="session")
def server(disks: list[SmallDisk], collector: Collector) -> Iterator[Caudal]:
    """A server with users of every role and a directory, shared by the run."""
    mirrors = (word for disk in disks for word in ("--journal", str(disk.path)))
    options = (*OPTIONS, *mirrors, "--audit-syslog", address_of(collector))
    with (
        tempfile.TemporaryDirectory(
            prefix="caudal-test.", dir=os.environ.get("TEST_DISK", "/var/tmp")
        ) as path,
        undisturbed(Path(path)) as make,
    ):
        made = make(admin=True, options=options)
        # A mirror is lost on purpose, and the server killed under the page.
        made.expect("mirror", "ganesha|killed|died")
        made.start()
        for role in ("viewer", "operator", "admin"):
            made.cli("user", "add", role, "--role", role, stdin=f"{PASSWORD}\n")
        with made.connect() as nfs:
            nfs.mkdir("/projects")
        yield made


@pytest.fixture(scope="module")
def dashboard(server: Caudal) -> Iterator[Dashboard]:
    """Debian's Chromium, which trusts the server's certificate and no other."""
    trusted = f"--ignore-certificate-errors-spki-list={key_digest(server.state / 'admin/tls.crt')}"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage", trusted]
        )
        made = Dashboard(server, browser, [], [])
        yield made
        browser.close()
    assert not made.complaints, "the browser complains:\n" + "\n".join(made.complaints[:20])
    assert not made.foreign, f"the page asked others: {made.foreign}"


@pytest.fixture(scope="module")
def admin(dashboard: Dashboard) -> Iterator[Page]:
    """A page with an admin signed in, shared by the tests of a module."""
    with dashboard.context() as context:
        page = dashboard.open(context)
        sign_in(page, "admin")
        yield page


@pytest.fixture
def fresh(dashboard: Dashboard) -> Iterator[Page]:
    """A page on which nobody is signed in."""
    with dashboard.context() as context:
        yield dashboard.open(context)
