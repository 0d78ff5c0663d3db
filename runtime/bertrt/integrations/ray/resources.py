"""What Ray has given to an actor."""

from dataclasses import dataclass

import ray

from bertrt.errors import DeviceError

__all__ = ["Assigned", "assigned"]


@dataclass(frozen=True, slots=True)
class Assigned:
    """Where an actor runs its model: `cpu` or `cuda`, and on how many threads of the CPU."""

    device: str
    threads: int


def assigned() -> Assigned:
    """The resources of the actor that calls: of `num_gpus` any, else of `num_cpus` the whole ones.

    An actor without a whole CPU has one thread. Of a machine's GPUs Ray lets an actor see its own,
    so that `cuda` is the right one.
    Raises DeviceError outside of Ray's workers.
    """
    context = ray.get_runtime_context() if ray.is_initialized() else None
    if context is None or context.get_actor_id() is None:
        raise DeviceError(
            "only Ray's actors have CPUs and GPUs assigned to them: let Ray make this object "
            "(`map_batches(BatchClassifier, ...)`, `serve.run(serve_app(...))`), or use "
            "bertrt.Classifier"
        )
    resources: dict[str, float] = context.get_assigned_resources()  # type: ignore[no-untyped-call]
    device = "cuda" if resources.get("GPU", 0) > 0 else "cpu"
    return Assigned(device, max(1, int(resources.get("CPU", 0))))
