"""Every model family beside PyTorch: `python -m bertrt_bench.families`."""
