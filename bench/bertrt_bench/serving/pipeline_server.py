"""What people write by hand: FastAPI and Transformers' pipeline. `python -m … MODEL PORT THREADS`.

As Transformers' documentation advises: the pipeline is made once, requests run in a thread, and
PyTorch has as many threads as bertrt.
"""

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

__all__: list[str] = []


class Request(BaseModel):
    """A text, or a list of texts."""

    inputs: str | list[str]


def _main(model: str, port: str, threads: str) -> None:
    torch.set_num_threads(int(threads))
    classify = pipeline("text-classification", model=model, top_k=None, device="cpu")
    app = FastAPI()

    @app.post("/predict")
    def predict(request: Request) -> Any:
        """Every label's score; FastAPI runs a function that is not async in a thread."""
        texts = request.inputs if isinstance(request.inputs, list) else [request.inputs]
        return classify(texts, truncation=True)

    @app.get("/health")
    async def health() -> dict[str, bool]:
        """Whether it is there."""
        return {"ready": True}

    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error")


if __name__ == "__main__":
    _main(*sys.argv[1:])
