"""The kernel tests once more under AddressSanitizer and UndefinedBehaviorSanitizer, where the compiler has them.

The plain kernels are built with vectors of 64 bytes, which take the code through the shapes of AVX-512 on any
processor. Errors stop the process; leaks are Python's and torch's affair.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from retrograd.bptt.native.library import ELSEWHERE

ROOT = Path(__file__).parents[2]
TESTS = [f"tests/bptt/test_{name}.py" for name in ("native", "operation", "softmax", "sweep")]


def preloaded(compiler):
    """The libraries that a program must load first which was not built with the sanitizer, or None where one is absent.

    libstdc++ is one of them: torch throws, and the sanitizer looks for what throws when the program starts.
    """
    names = ("libasan.so", "libstdc++.so.6")
    found = [
        subprocess.run(
            [compiler, f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in names
    ]
    return ":".join(found) if all(Path(path).is_absolute() for path in found) else None


@pytest.mark.extra
def test_the_kernels_touch_nothing_that_is_not_theirs(tmp_path):
    compiler, cmake = shutil.which("g++"), shutil.which("cmake")
    if not compiler or not cmake or not (first := preloaded(compiler)):
        pytest.skip("g++ with its sanitizers, and cmake, are needed")
    options = [
        "-DRETROGRAD_SANITIZE=ON",
        "-DRETROGRAD_VECTOR_BYTES=64",
        f"-DCMAKE_CXX_COMPILER={compiler}",
    ]
    subprocess.run([cmake, "-S", ROOT, "-B", tmp_path, *options], check=True, capture_output=True)
    subprocess.run([cmake, "--build", tmp_path, "--parallel"], check=True, capture_output=True)
    environment = {
        **os.environ,
        ELSEWHERE: str(tmp_path / "libretrograd_kernels.so"),
        "LD_PRELOAD": first,
        "ASAN_OPTIONS": "detect_leaks=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-o",
        "addopts=--import-mode=importlib",
        "-p",
        "no:cacheprovider",
        "-k",
        "not forked",
        *TESTS,
    ]
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, (ran.stdout + ran.stderr)[-4000:]
    assert " passed" in ran.stdout
    assert "skipped" not in ran.stdout, "a library that cannot be loaded would skip them all"
