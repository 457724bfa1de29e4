"""The `bothways` program: a thin door over the same services as the REST API."""
