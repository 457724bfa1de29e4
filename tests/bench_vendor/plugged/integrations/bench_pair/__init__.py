from tests.bench_vendor.integration import BENCH_PAIR as INTEGRATION  # noqa: F401
