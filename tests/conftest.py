"""What all tests share."""

import os

import torch

os.environ["COLUMNS"] = "160"  # what a command prints must not depend on the terminal that tests run in
if "PYTEST_XDIST_WORKER" in os.environ:  # two processes on two cores: more threads would only wait for each other
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start
