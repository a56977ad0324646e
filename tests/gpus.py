"""A machine with GPUs, as far as a driver's libraries tell of them: stubs, built by the C compiler.

torch counts the GPUs by NVML, and CUDA's first word to its driver is a question of its version: the
stub of it notes which process asks, and what it may see. It then has no device to offer, so that
what is trained with trainer.device=auto is trained on the CPU.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

NVML = """
int nvmlInit(void) { return 0; }
int nvmlDeviceGetCount_v2(int *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(int index, void **handle) {
  *handle = (void *)(long)index;
  return 0;
}
int nvmlDeviceGetUUID(void *handle, char *uuid, unsigned length) {
  const char *name = handle ? "GPU-1f" : "GPU-0e";
  for (unsigned i = 0; i < length; i++)
    if (!(uuid[i] = name[i])) break;
  return 0;
}
"""
CUDA = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
int cuDriverGetVersion(int *version) {
  const char *log = getenv("STUB_LOG"), *visible = getenv("CUDA_VISIBLE_DEVICES");
  FILE *file = log ? fopen(log, "a") : NULL;
  if (file) {
    fprintf(file, "%d %s\\n", getpid(), visible ? visible : "all");
    fclose(file);
  }
  *version = 0;
  return 0;
}
"""


Driver = Callable[[Path], dict[str, str]]
"""Environment variables of a machine with two GPUs, whose use is noted in this file."""


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Driver:
    if not torch.backends.cuda.is_built():
        pytest.skip("this torch is built without CUDA")
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here, which makes the stubs of a driver")
    folder = tmp_path_factory.mktemp("driver")
    for name, text in (("libnvidia-ml.so.1", NVML), ("libcuda.so.1", CUDA)):
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-x", "c", "-o", name, "-"],
            input=text,
            text=True,
            cwd=folder,
            check=True,
        )
    return lambda log: {"LD_LIBRARY_PATH": str(folder), "STUB_LOG": str(log)}
