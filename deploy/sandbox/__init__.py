"""Imitations of the vendors over HTTP, for tests and the demonstration. Shares no code with the product."""
