"""The measurements on an NVIDIA GPU: `python -m bertrt_bench.gpu`."""
