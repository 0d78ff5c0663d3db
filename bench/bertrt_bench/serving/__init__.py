"""bertrt's server under load, beside the same model in process and a FastAPI server."""
