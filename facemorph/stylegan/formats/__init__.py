"""Readers of published network files, and the one format that is written here. Nothing in a file is run."""
