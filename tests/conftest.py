"""What all tests share."""

import atexit
import gc
import os

os.environ["COLUMNS"] = "160"  # what a command prints must not depend on the terminal that tests run in
if "PYTEST_XDIST_WORKER" in os.environ:  # two processes on two cores: more threads would only wait for each other
    # before torch is imported: torch.set_num_threads(1) does not reach the threads that tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")

gc.disable()  # while tests are collected: nothing of what that makes is garbage


def pytest_collection_finish():
    """What is there before the first test stays to the end: the collector need not look at it again."""
    gc.freeze()
    gc.enable()
    atexit.register(gc.unfreeze)  # or triton reports that it leaks
