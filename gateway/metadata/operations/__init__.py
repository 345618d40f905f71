"""The namespace's operations, a file for each family; `gateway.metadata.namespace.Namespace` is all of them."""
