"""The parts of `benchmarks/speed.py`. Nothing is imported here: fresh processes that are timed start from here too."""
