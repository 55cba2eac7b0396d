"""Bring NVIDIA's driver, proven by CUDA: pyinfra INVENTORY deploys/nvidia.py

What it would do, without doing it: rigwright driver INVENTORY, or --dry.
"""

from rigwright.roles.nvidia.deploy import deploy

deploy()
