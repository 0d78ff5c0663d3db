"""What `bertrt classify`, `rerank`, `tag` and `info` do, a module each."""

__all__: list[str] = []
