"""Serve the models of the inventory with vLLM: pyinfra INVENTORY deploys/vllm.py"""

from rigwright.roles.vllm.deploy import deploy

deploy()
