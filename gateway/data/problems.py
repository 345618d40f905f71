"""What fsck finds."""

from dataclasses import dataclass, field

from gateway.metadata.rows import RowOp


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. `repair`: row operations that mend it without loss; empty where nothing can."""

    text: str
    repair: tuple[RowOp, ...] = field(default=())
