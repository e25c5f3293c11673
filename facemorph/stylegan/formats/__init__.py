"""Readers of published network files, and the one format that is written here. No code in a file is run."""
