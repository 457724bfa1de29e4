"""Read models: one file per log view. They write nothing."""
