"""What divcon is measured against, in the same run: `make bench`, or `python -m benchmarks.bench_step` for one of them."""
