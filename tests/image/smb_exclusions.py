"""Tests of smbtorture that pass on a stock share and not on ours, each with the reason. docs/smb.md tells it to people."""

from typing import Final

DIFFERENT: Final[dict[str, str]] = {}
