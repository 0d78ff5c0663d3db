"""int8: which projection runs in which form, chosen by measuring against PyTorch."""
