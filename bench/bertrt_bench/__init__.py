"""Benchmarks of bertrt against PyTorch."""
