"""A batch on a cluster of Ray: a task for every unit."""

import os
import pickle
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from inverse.app.batch.job import Job, Unit
from inverse.app.batch.parts import Parts
from inverse.app.batch.pool import LOOK, pickled
from inverse.app.batch.work import do, placed
from priors.claims import claimed
from priors.threads import one_thread

RETRIES = 5  # of a unit whose worker was killed


def spread(job: Job, parts: Parts, processes: int, on_end: Callable[[], None]) -> None:
    """Work as tasks of Ray, on the cluster that RAY_ADDRESS names or on ``processes`` workers of this machine.

    A unit whose worker is killed is tried again by Ray, up to 5 times. All nodes must see the measurements and the
    results under the same paths.
    Arguments: as `inverse.app.batch.pool.spread`.
    Raises: ModuleNotFoundError without Ray; RuntimeError if units are left.
    """
    try:
        import ray
        from ray.exceptions import RayError
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "backend 'ray' needs the package ray: install it by pip install 'score-inverse[ray]', or use processes"
        ) from None
    mine = not ray.is_initialized()
    if mine:
        local: dict[str, Any] = (
            {} if "RAY_ADDRESS" in os.environ else {"num_cpus": processes, "include_dashboard": False}
        )
        ray.init(log_to_driver=False, **local)
    try:
        content = ray.put(pickled(job))
        need: dict[str, Any] = {
            "num_cpus": 1,
            "max_retries": RETRIES,
            "runtime_env": {"env_vars": {"OMP_NUM_THREADS": "1"}},
        }
        if job.device is not None and job.device.startswith("cuda"):
            need["num_gpus"] = 1
        task: Any = ray.remote(**need)(_unit)
        waiting = [task.remote(content, str(parts.out), u.start, u.end) for u in job.units if not parts.ended(u)]
        lost = ""
        while waiting:
            ready, waiting = ray.wait(waiting, timeout=LOOK)
            for one in ready:
                try:
                    ray.get(one)
                except RayError as error:  # its retries are used up; others go on
                    lost = str(error).partition("\n")[0]
            on_end()
    finally:
        if mine:
            ray.shutdown()
    left = sum(not parts.ended(unit) for unit in job.units)
    if left:
        raise RuntimeError(
            f"{left} of {len(job.units)} units are left: run the same again ({lost or 'other runs have them'})"
        )


def _unit(content: bytes, out: str, start: int, end: int) -> None:
    """One unit, in a worker of Ray, which keeps the job for the next."""
    job, parts, unit = _job(content), Parts(out), Unit(start, end)
    with one_thread(), claimed(parts.folder, unit.name) as mine:
        if mine and not parts.ended(unit):
            do(job, parts, unit)


@lru_cache(maxsize=1)
def _job(content: bytes) -> Job:
    return placed(pickle.loads(content), 0)
