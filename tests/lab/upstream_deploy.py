"""deploys/llamacpp.py where upstream's binaries for the CPU come by themselves, as on GPUs: no rig of the lab has one.

UPSTREAM_GIT is where upstream's git is.
"""

import os
import runpy
from pathlib import Path

from rigwright.catalogue import load
from rigwright.plan.engines.llamacpp import planner

planner.uses_gpus = lambda settings, hardware: True
load("engines")["llamacpp"]["git"] = os.environ["UPSTREAM_GIT"]
runpy.run_path(str(Path(__file__).parents[2] / "deploys" / "llamacpp.py"))
