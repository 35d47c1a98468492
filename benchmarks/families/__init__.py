"""What `make bench-kernels` measures: one file a family, each with ``measure(out, quick)``."""
