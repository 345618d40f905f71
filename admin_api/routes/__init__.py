"""The routes below /v1, one file a noun."""
