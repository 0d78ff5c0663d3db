"""Stub until the doctor comes."""


def cuda_failure(device: str) -> str:
    return f"device={device!r}: CUDA could not be started; or use device='cpu'"


def tensorrt_failure(device: str) -> str:
    return f"device={device!r}: TensorRT could not be started; or use device='cpu'"
