"""The crash campaign: a real server that is killed in all sorts of ways under clients that know what it acknowledged."""
