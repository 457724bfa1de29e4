"""A small fast vendor with Xero's published limits, to measure what the product makes of them. See server.py."""
