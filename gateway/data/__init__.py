"""Flush, garbage collection and fsck: what happens to file data after it was acknowledged."""
