"""Serve the models of the data `mlx` with MLX, on Macs: pyinfra INVENTORY deploys/mlx.py

The program was run, on Linux; on a Mac nothing was.
"""

from rigwright.roles.mlx.deploy import deploy

deploy()
