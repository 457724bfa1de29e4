"""Data imports in processes of their own, which are killed, and one of 50,000 rows."""
