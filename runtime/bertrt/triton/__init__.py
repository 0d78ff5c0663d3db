"""Triton Inference Server: a model repository that serves a packed artifact.

What Triton does with it was read in its documentation and sources, which the functions name: no
Triton server was run.
"""
