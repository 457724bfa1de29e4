"""Mutants: the product with one promise broken, to show that the auditor would see it. `python -m tests.mutants`."""
