"""What ``benchmarks/gpu.py`` and ``benchmarks/scatter.py`` are made of."""
