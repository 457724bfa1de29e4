from tests.bench_vendor.connector import BOOKS as CONNECTOR  # noqa: F401
