"""The workloads that the performance targets speak of: `make bench`."""
