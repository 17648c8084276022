import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_kept_memory_is_not_fetched_from_the_system_again() -> None:
    code = """
import resource, sys
from nmt.memory import keep_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"x" * (32 << 20)  # 8,192 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if sys.argv[1] == "keep":
    keep_memory()
print(faults())
"""
    faults = {
        how: int(
            subprocess.run(
                [sys.executable, "-c", code, how],
                capture_output=True,
                check=True,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            ).stdout
        )
        for how in ("keep", "leave")
    }
    assert faults["leave"] > 80_000
    assert faults["keep"] < 20_000


def test_loaded_objects_are_spared() -> None:
    code = """
import gc
from nmt.memory import spare_loaded_objects

cycle = []
cycle.append(cycle)
spare_loaded_objects()
assert gc.get_freeze_count() > 1000
assert not any(one is cycle for one in gc.get_objects()), "it is not looked at again"
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
