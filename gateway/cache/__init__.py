"""The block cache as a whole: its tiers and shelves, what is warmed and pinned, and the policy of its size."""
