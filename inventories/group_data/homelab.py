"""What every rig of inventories/homelab.py has: pyinfra takes this file for it, as both have one name."""

ssh_user = "ada"
ssh_key = "~/.ssh/id_ed25519"
_sudo = True
# The lock of the house: what `rigwright plan inventories/homelab.py --write` wrote is what every deploy brings.
# rig_lock = "inventories/homelab.lock.yml"
