"""Give rigs back as they were: pyinfra INVENTORY deploys/remove.py [--data remove_weights=true]

One service alone: --data remove_service=NAME. Packages stay with --data remove_packages=false.
"""

from rigwright.roles.base.removal import remove

remove()
