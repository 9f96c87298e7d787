"""Processes of this machine that evaluate a prior beside this one, in an order that is that of one process."""

import multiprocessing
import pickle
import threading
import traceback
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from priors.base import Prior
from priors.heap import separate_blocks
from priors.threads import one_thread

AHEAD = 4  # results per process that may wait for an earlier one
Task = TypeVar("Task")
Result = TypeVar("Result")


class LostProcess(RuntimeError):
    """A process that evaluates a prior ended before its work was done."""


class Crew:
    """Processes with a copy of a prior each, which compute in one thread; they end with this object, or its process.

    Arguments: prior, on the CPU; number (int >= 1) of processes.
    Raises: ValueError within a process that may not start others; TypeError for a prior that cannot be pickled.
    """

    def __init__(self, prior: Prior, number: int):
        if multiprocessing.current_process().daemon:
            raise ValueError(
                f"{number + 1} processes for the tiles, within one of several processes: take processes = 1 in one of "
                "the two places"
            )
        content, context = _pickled(prior), multiprocessing.get_context("spawn")
        self.processes: list[BaseProcess] = []
        self.connections: list[Connection] = []
        self._end = weakref.finalize(self, _end, self.processes, self.connections)
        for _ in range(number):
            here, there = context.Pipe()
            process = context.Process(target=_member, args=(there,), daemon=True)
            process.start()
            there.close()  # so that the end of the process ends the connection
            self.processes.append(process)
            self.connections.append(here)
        for k in range(number):
            self._send(k, content)

    def close(self) -> None:
        """End the processes."""
        self._end()

    def evaluate(self, k: int, name: str, x: Tensor, t: Tensor | float, v: Tensor | None) -> Tensor:
        """A function of this module, by its name, in process k; the arguments are its own.

        Raises: LostProcess if the process has ended; RuntimeError with the error of the process.
        """
        self._send(k, pickle.dumps((name, *map(_plain, (x, t, v)))))
        try:
            content = self.connections[k].recv_bytes()
        except (EOFError, OSError):
            raise self._lost(k) from None
        fine, found = pickle.loads(content)  # from a process that this one started
        if not fine:
            raise RuntimeError(f"a process that evaluates tiles failed:\n{found}")
        return torch.from_numpy(found)

    def _send(self, k: int, content: bytes) -> None:
        try:
            self.connections[k].send_bytes(content)
        except OSError:
            raise self._lost(k) from None

    def _lost(self, k: int) -> LostProcess:
        self.processes[k].join(5)
        return LostProcess(
            f"a process that evaluates tiles ended, with the exit code {self.processes[k].exitcode}: run the same "
            "again; -9 is often a lack of memory: then take smaller tiles or fewer processes. A script that starts "
            'processes must do so under if __name__ == "__main__":'
        )


def denoised(prior: Prior, x: Tensor, t: Tensor | float, _: Tensor | None) -> Tensor:
    """E[x0 | x_t = x] of a tile x (N, C, h, w)."""
    return prior.denoise(x, t)


def derivative(prior: Prior, x: Tensor, t: Tensor | float, v: Tensor) -> Tensor:
    """J'v at a tile x (N, C, h, w), one evaluation and one backward pass."""
    return prior.denoise_vjp(x, t)[1](v)


CALLS: dict[str, Callable[..., Tensor]] = {call.__name__: call for call in (denoised, derivative)}


def in_order(
    tasks: Sequence[Task], evaluators: Sequence[Callable[[Task], Result]], take: Callable[[Task, Result], None]
) -> None:
    """Evaluate tasks by several evaluators at once, and take the results in the order of the tasks.

    The first evaluator, and ``take``, run in the thread of the caller; the others in threads of their own, so they
    should wait for other processes. Results that wait for an earlier one are few, whatever the number of tasks.
    Raises: what an evaluator raises, after all have ended.
    """
    line = _Line(tasks, AHEAD * len(evaluators))
    others = [threading.Thread(target=line.work, args=(evaluate,), daemon=True) for evaluate in evaluators[1:]]
    for thread in others:
        thread.start()
    try:
        line.lead(evaluators[0], take)
    except BaseException as error:
        line.fail(error)
    for thread in others:
        thread.join()
    if line.errors:
        raise line.errors[0]


class _Line(Generic[Task, Result]):
    """Tasks that are begun, evaluated and taken in one order. At most ``ahead`` are begun and not taken."""

    def __init__(self, tasks: Sequence[Task], ahead: int):
        self.tasks, self.ahead, self.begun, self.taken = tasks, ahead, 0, 0
        self.ready: dict[int, Result] = {}
        self.errors: list[BaseException] = []
        self.changed = threading.Condition()

    def lead(self, evaluate: Callable[[Task], Result], take: Callable[[Task, Result], None]) -> None:
        """Take every result, and evaluate while there is none to take."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.errors or self.taken in self.ready or self._open() or self._ended())
                if self.errors or self._ended():
                    return
                found, number = self.ready.pop(self.taken, None), self.begun
                if found is None:
                    self.begun += 1
            if found is None:
                self._put(number, evaluate(self.tasks[number]))
                continue
            take(self.tasks[self.taken], found)
            with self.changed:
                self.taken += 1
                self.changed.notify_all()

    def work(self, evaluate: Callable[[Task], Result]) -> None:
        """Evaluate until no task is left."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.errors or self._open() or self.begun == len(self.tasks))
                if self.errors or self.begun == len(self.tasks):
                    return
                number, self.begun = self.begun, self.begun + 1
            try:
                self._put(number, evaluate(self.tasks[number]))
            except BaseException as error:  # of any kind: the others must not wait for its result
                self.fail(error)
                return

    def fail(self, error: BaseException) -> None:
        """End the work of all."""
        with self.changed:
            self.errors.append(error)
            self.changed.notify_all()

    def _put(self, number: int, found: Result) -> None:
        with self.changed:
            self.ready[number] = found
            self.changed.notify_all()

    def _open(self) -> bool:
        return self.begun < min(len(self.tasks), self.taken + self.ahead)

    def _ended(self) -> bool:
        return self.taken == len(self.tasks)


def _pickled(prior: Prior) -> bytes:
    try:
        return pickle.dumps(prior)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(
            f"the prior cannot be sent to another process ({error}): define its functions and classes at the top of a "
            "module, or use one process"
        ) from None


def _plain(value: Tensor | float | None) -> Any:
    """A tensor as an array: torch would send it through shared memory, which may be small."""
    return value.detach().contiguous().numpy() if isinstance(value, Tensor) else value


def _tensor(value: Any) -> Any:
    return value if value is None or isinstance(value, float | int) else torch.from_numpy(value)


def _member(connection: Connection) -> None:
    """The work of a started process: calls, until the connection ends."""
    separate_blocks()
    try:
        prior: Prior = pickle.loads(connection.recv_bytes())  # from the process that started this one
        if isinstance(prior, nn.Module):
            prior.requires_grad_(False)
        with one_thread(), torch.no_grad():
            while True:
                name, *arguments = pickle.loads(connection.recv_bytes())
                try:
                    answer = True, _plain(CALLS[name](prior, *map(_tensor, arguments)))
                except Exception:
                    answer = False, traceback.format_exc()
                connection.send_bytes(pickle.dumps(answer))
    except (EOFError, OSError, KeyboardInterrupt):  # the process that started this one has ended, or was interrupted
        pass


def _end(processes: list[BaseProcess], connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()
    for process in processes:
        process.terminate()
        process.join()
