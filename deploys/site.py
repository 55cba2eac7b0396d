"""Bring a rig from a bare system to one that serves all that it shall, and check it: pyinfra INVENTORY deploys/site.py

It reboots a rig for its driver where rig.nvidia.reboot is auto. Without the checks: --data verify=false.
"""

from rigwright.roles.site.deploy import deploy

deploy()
