"""The HTTP server: `bertrt serve`. Needs the extra `serve`."""
