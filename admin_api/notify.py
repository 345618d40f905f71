"""Tells people and programs: webhooks and e-mail, from a queue in the database, again and again until they are taken.

A webhook's body is signed: `X-Caudal-Signature: t=SECONDS,v1=HEX`, HEX being the HMAC-SHA256 of `SECONDS.BODY` by the
target's secret. `X-Caudal-Delivery` is the same for every try of one message.
"""

import hashlib
import hmac
import json
import smtplib
import ssl
import threading
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any, Final

import httpx
import structlog
from sqlalchemy import Connection, Engine, delete, select, update

from admin_api import tables

log = structlog.get_logger(__name__)

FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 3600.0
GIVE_UP_S: Final = 86400.0
TIMEOUT_S: Final = 10.0
KEPT: Final = 500
POLL_S: Final = 5.0

Send = Callable[[dict[str, Any], str, dict[str, Any], float], None]
"""Sends a message (target's fields, delivery, message, now). Raises OSError, httpx.HTTPError or SMTPException."""


def pause_s(attempts: int) -> float:
    """How long after so many failed tries the next one comes."""
    return min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempts - 1, 20))


def signature(secret: str, at_s: int, body: bytes) -> str:
    mac = hmac.new(secret.encode(), f"{at_s}.".encode() + body, hashlib.sha256)
    return f"t={at_s},v1={mac.hexdigest()}"


def send_webhook(target: dict[str, Any], delivery: str, message: dict[str, Any], now_s: float) -> None:
    body = json.dumps(message).encode()
    headers = {
        "Content-Type": "application/json",
        "X-Caudal-Delivery": delivery,
        "X-Caudal-Signature": signature(target["secret"], int(now_s), body),
    }
    # No redirects: the body goes where the operator said.
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
        answer = client.post(target["url"], content=body, headers=headers)
    if not answer.is_success:
        raise OSError(f"it answered {answer.status_code}")


def subject_of(message: dict[str, Any]) -> str:
    return f"[Caudal {message['server']}] {message['event']}: {message['text']}"


def send_mail(target: dict[str, Any], delivery: str, message: dict[str, Any], _now_s: float) -> None:
    mail = EmailMessage()
    mail["From"] = target["sender"]
    mail["To"] = ", ".join(target["recipients"])
    mail["Subject"] = subject_of(message)
    mail["Message-ID"] = f"<{delivery}@caudal>"
    value = f"{message['value']:g} {message['unit']}".strip()
    mail.set_content(
        f"{message['text']} ({message['rule']}, {message['severity']}): {message['event']}, value {value}.\n"
    )
    with smtplib.SMTP(target["host"], target["port"], timeout=TIMEOUT_S) as smtp:
        if target.get("starttls"):
            smtp.starttls(context=ssl.create_default_context())
        if target.get("username"):
            smtp.login(target["username"], target.get("password") or "")
        smtp.send_message(mail)


SENDERS: Final[dict[str, Send]] = {"webhook": send_webhook, "email": send_mail}


class Notifier:
    """A thread that empties the queue. Messages go once to each target that there is when they are made."""

    def __init__(self, engine: Engine, now_s: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._engine = engine
        self._now_s = now_s
        self._new_id = new_id
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=TIMEOUT_S)

    def wake(self) -> None:
        self._wake.set()

    def enqueue(self, connection: Connection, message: dict[str, Any], now_s: float) -> None:
        """Puts a message for every target into the queue, in the caller's transaction."""
        for target in connection.execute(select(tables.targets.c.name)).scalars().all():
            row = {"id": self._new_id(), "target": target, "body": json.dumps(message), "created_s": now_s}
            connection.execute(
                tables.deliveries.insert().values(**row, attempts=0, next_s=now_s, state="waiting")
            )

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.deliver()
            except Exception:
                log.exception("notifier.failed")
            self._wake.wait(POLL_S)
            self._wake.clear()

    def deliver(self) -> None:
        """Tries everything that is due, once."""
        table = tables.deliveries
        with self._engine.connect() as connection:
            due = select(table).where(table.c.state == "waiting", table.c.next_s <= self._now_s())
            rows = [dict(row) for row in connection.execute(due.order_by(table.c.created_s)).mappings()]
            targets = {
                row["name"]: dict(row) for row in connection.execute(select(tables.targets)).mappings()
            }
        for row in rows:
            if self._stop.is_set():
                return
            target = targets.get(row["target"])
            error = "the target is gone" if target is None else self._try(target, row)
            self._note(row, error, gone=target is None)

    def _try(self, target: dict[str, Any], row: dict[str, Any]) -> str | None:
        try:
            self.send(target, row["id"], json.loads(row["body"]))
        except (OSError, httpx.HTTPError, httpx.InvalidURL, smtplib.SMTPException, ValueError) as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        return None

    def send(self, target: dict[str, Any], delivery: str, message: dict[str, Any]) -> None:
        """Sends at once. Raises OSError, httpx.HTTPError, SMTPException, ValueError."""
        SENDERS[target["kind"]](json.loads(target["body"]), delivery, message, self._now_s())

    def _note(self, row: dict[str, Any], error: str | None, *, gone: bool) -> None:
        now_s = self._now_s()
        attempts = row["attempts"] + 1
        state = "sent" if error is None else "waiting"
        if gone or (error is not None and now_s - row["created_s"] >= GIVE_UP_S):
            state = "given_up"
        log.info("notify", target=row["target"], state=state, attempts=attempts, error=error)
        table = tables.deliveries
        with self._engine.begin() as connection:
            connection.execute(
                update(table)
                .where(table.c.id == row["id"])
                .values(state=state, attempts=attempts, next_s=now_s + pause_s(attempts), error=error)
            )
            ended = select(table.c.id).where(table.c.state != "waiting").order_by(table.c.created_s.desc())
            old = connection.execute(ended.offset(KEPT)).scalars().all()
            connection.execute(delete(table).where(table.c.id.in_(old)))
