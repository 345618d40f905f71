"""Caudal: a file gateway between NFS clients and Azure Blob Storage."""

from importlib import metadata


def _version() -> str:
    """The version of the installed package; a tree that is used as it is has none."""
    try:
        return metadata.version("caudal")
    except metadata.PackageNotFoundError:
        return "0.1.0+tree"


__version__ = _version()
