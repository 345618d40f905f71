"""Whether all is well: a verdict over the gateway's figures."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

OLD_FLUSH_S = 300.0
FULL_SHARE = 0.8


class Finding(BaseModel):
    """One thing that is not well. severity: warning or critical."""

    severity: Literal["warning", "critical"]
    part: str
    text: str


class Health(BaseModel):
    model_config = ConfigDict(
        json_schema_extra={"examples": [{"state": "ok", "read_only": False, "findings": []}]}
    )
    state: Literal["ok", "warning", "critical"]
    read_only: bool
    """The gateway is down: the service changes nothing of it."""
    findings: list[Finding]


def judge(status: dict[str, Any], why_down: str | None) -> Health:
    """The verdict on a status; why_down: why the gateway does not answer, None while it does."""
    findings: list[Finding] = []

    def critical(part: str, text: str) -> None:
        findings.append(Finding(severity="critical", part=part, text=text))

    def warning(part: str, text: str) -> None:
        findings.append(Finding(severity="warning", part=part, text=text))

    if why_down is not None:
        critical("gateway", why_down)
    journal: dict[str, Any] = status.get("journal", {})
    for mirror in journal.get("mirrors", []):
        if mirror.get("state") != "healthy":
            critical("journal", f"the mirror {mirror.get('path')} is {mirror.get('state')}")
    if journal.get("limit_bytes") and journal.get("bytes", 0) > FULL_SHARE * journal["limit_bytes"]:
        warning("journal", "the journal is more than 80 % full")
    if (journal.get("oldest_unflushed_s") or 0) > OLD_FLUSH_S:
        warning("journal", f"writes wait for the store since {journal['oldest_unflushed_s']:.0f} s")
    store: dict[str, Any] = status.get("store", {})
    if store.get("state", "ok") == "throttled":
        warning("objects", "the object store throttles")
    elif store.get("state", "ok") != "ok":
        critical(
            "objects", f"the object store is {store['state']}: {store.get('last_error') or 'no reason given'}"
        )
    for part in ("flush", "checkpoint"):
        figures: dict[str, Any] = status.get(part, {})
        if error := figures.get("error"):
            warning(part, str(error))
    findings += _of_the_cache(status.get("cache", {}))
    findings.sort(key=lambda one: one.severity != "critical")
    return Health(
        state=findings[0].severity if findings else "ok", read_only=why_down is not None, findings=findings
    )


def _of_the_cache(cache: dict[str, Any]) -> list[Finding]:
    found: list[Finding] = []
    if (bad := cache.get("unreadable_blocks", 0)) > 0:
        found.append(Finding(severity="critical", part="cache", text=f"{bad} blocks could not be read"))
    for shelf in cache.get("shelves", []):
        if shelf.get("state") in ("failed", "full"):
            text = f"the shelf {shelf.get('path')} is {shelf['state']}: {shelf.get('why')}"
            found.append(Finding(severity="warning", part="cache", text=text))
    return found
