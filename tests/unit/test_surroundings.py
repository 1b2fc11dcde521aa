"""Environments that lack what the core needs: system calls, thread-specific keys, 64 bits."""

from __future__ import annotations

import platform
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.children import run_clean_child

ROOT = Path(__file__).parents[2]
MEMBARRIER = {"x86_64": 324, "aarch64": 283}

# A service that installs a seccomp filter after its imports; then membarrier fails.
REFUSES = """
import ctypes, errno, threading, time
from registry import Backend, BackendStatus, Model, Registry

class Instruction(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8),
                ("k", ctypes.c_uint32)]

class Program(ctypes.Structure):
    _fields_ = [("len", ctypes.c_uint16), ("filter", ctypes.POINTER(Instruction))]

def refuse(call):
    load_number, equal, return_constant = 0x20, 0x15, 0x06
    instructions = (Instruction * 4)(
        Instruction(load_number, 0, 0, 0), Instruction(equal, 0, 1, call),
        Instruction(return_constant, 0, 0, 0x00050000 | errno.EPERM),
        Instruction(return_constant, 0, 0, 0x7FFF0000))
    program = Program(4, instructions)
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, set_seccomp, filter_mode = 38, 22, 2
    return (libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
            and libc.prctl(set_seccomp, filter_mode, ctypes.byref(program), 0, 0) == 0)

registry = Registry()
for i in range(50):
    registry.add_backend(Backend(f"b{i}", "n", "http://h", models=[Model("m")]))

stop = threading.Event()
failures = []

def read():
    try:
        while not stop.is_set():
            views = registry.get_backends_for_model("m")
            assert len(views) == 50 and all(v.last_error in (None, v.id) for v in views)
            registry.increment_pending("b0")
            registry.decrement_pending("b0")
    except BaseException as error:
        failures.append(error)

readers = [threading.Thread(target=read, daemon=True) for _ in range(2)]
for reader in readers:
    reader.start()

def write(count):
    for i in range(count):
        id = f"b{i % 50}"
        registry.update_status(id, BackendStatus.UNHEALTHY, "".join(id))

write(2000)
if not refuse(MEMBARRIER):
    stop.set()
    print("skip")
    raise SystemExit
most = 0
end = time.monotonic() + 1.5  # reclamation pauses for one second of these
while time.monotonic() < end:
    write(100)
    most = max(most, registry.stats().waiting_for_reclamation)
waiting = []
for _ in range(10):
    write(2000)
    waiting.append(registry.stats().waiting_for_reclamation)
stop.set()
for reader in readers:
    reader.join()
write(2000)
assert not failures, failures
print(most, min(waiting), registry.stats().waiting_for_reclamation)
"""


def test_memory_is_reclaimed_again_after_membarrier_is_refused() -> None:
    call = MEMBARRIER.get(platform.machine())
    if sys.platform != "linux" or call is None:
        pytest.skip("the number of the system call is known for Linux on x86-64 and arm64")
    printed = run_clean_child(REFUSES.replace("MEMBARRIER", str(call))).split()
    if printed == ["skip"]:
        pytest.skip("this kernel has no seccomp filters")
    most, least_later, at_last = map(int, printed)
    # No thread reads any more: of over 22,000 retired objects, about two batches of 256 may wait.
    assert least_later < 5000
    assert at_last < 600, (most, least_later, at_last)


# Importing the package takes one of the process's thread-specific keys. Readers must have a key of
# their own; key 0 belongs to another library.
EXHAUSTED = """
import ctypes
libc = ctypes.CDLL(None)
key = ctypes.c_uint()
taken = 0
while libc.pthread_key_create(ctypes.byref(key), None) == 0:
    taken += 1
assert taken > 10
for attempt in range(2):
    try:
        import registry
    except ImportError as error:
        print(error)
@ctypes.CFUNCTYPE(None)
def called_back():
    print("alive")
called_back()
"""


def test_import_fails_when_all_thread_specific_keys_are_taken() -> None:
    first, second, alive = run_clean_child(EXHAUSTED).splitlines()
    assert first == second
    assert first.startswith("registry can't work in this process: all thread-specific keys")
    assert "start the registry before it" in first
    assert alive == "alive"


@pytest.mark.parametrize(("name", "value", "sentence"), [
    ("sys.maxsize", 2**31 - 1, "registry needs a 64-bit Python"),
    ("os.name", "nt", "registry needs a Unix system"),
])  # fmt: skip
def test_setup_names_the_platforms_it_refuses(
    monkeypatch: pytest.MonkeyPatch, name: str, value: object, sentence: str
) -> None:
    monkeypatch.setattr(name, value)
    with pytest.raises(SystemExit, match=sentence):
        runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")


def test_the_core_refuses_a_32_bit_target_in_one_sentence() -> None:
    compiler = shutil.which("gcc")
    if compiler is None or platform.machine() != "x86_64":
        pytest.skip("needs gcc for x86-64, which knows -m32")
    source = ROOT / "src_c" / "base" / "platform.h"
    command = [compiler, "-std=c11", "-ffreestanding", "-fsyntax-only", "-x", "c", str(source)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    refused = subprocess.run([*command, "-m32"], capture_output=True, text=True, check=False)
    assert refused.returncode != 0
    errors = [line for line in refused.stderr.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert "registry needs a 64-bit target" in errors[0]
