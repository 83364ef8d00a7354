"""Hostile input for every parser: the table of parsers, and targets for coverage-guided fuzzing (README.md)."""
