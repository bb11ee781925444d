"""divcon measured beside other libraries, in the same process or pair: `make bench`, or `python -m benchmarks.bench_step` for one of them."""
