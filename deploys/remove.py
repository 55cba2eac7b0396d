"""Give rigs back as they were: pyinfra INVENTORY deploys/remove.py [--data remove_weights=true]"""

from rigwright.roles.base.removal import remove

remove()
