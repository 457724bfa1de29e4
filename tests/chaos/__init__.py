"""The fault matrix: every fault at its steps, on the real stack, judged by the auditor. `python -m tests.chaos`."""
