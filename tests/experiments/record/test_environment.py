"""What ran a command, and on how many cores."""

import json
import os
import subprocess
import sys

import pytest

from experiments.record.environment import machine

pytestmark = pytest.mark.standard
MAIN = """
import json, os
from experiments.record import environment, launch

def main():
    threads = [len(os.sched_getaffinity(int(thread))) for thread in os.listdir("/proc/self/task")]
    print(json.dumps([max(threads), environment.environment()["num_cores"]]))

launch.run(main, num_cores=1)
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="the system has no affinities")
def test_all_threads_of_a_command_stay_on_its_cores(tmp_path):
    env = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", MAIN], env=env, capture_output=True, check=True)
    assert json.loads(done.stdout) == [1, 1]


def test_a_machine_is_named_by_what_is_known_of_it():
    cpu = {"device": "cpu: cpu", "num_cores": 3}
    assert machine(cpu) == "3 CPU cores" and machine(cpu | {"cpu": "A"}) == "3 CPU cores (A)"
    assert machine({"device": "gpu: H"}) == "products in JAX's default precision, H"
