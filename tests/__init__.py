"""The tests. Folders are kinds of tests: unit, ganesha, kernel, crash."""
