"""The namespace of a file system: names, attributes, and where flushed bytes live.

Row changes are made in memory (`overlay`), appended to the journal as one record each (`rows`), and brought into SQL in
batches by another process (`checkpoint`). `namespace.Namespace` is what a server calls; it knows nothing of NFS, of
object stores or of services, and reaches the native core through the protocol in `ports` alone.
"""
