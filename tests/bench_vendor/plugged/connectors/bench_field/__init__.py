from tests.bench_vendor.connector import FIELD as CONNECTOR  # noqa: F401
