#!/bin/sh
# Carries one rig, in a mount namespace of its own: carry.sh ALL_LABS THIS_RIG CONTROL_GROUP COMMAND...
all=$1 own=$2 group=$3
shift 3

# The other rigs' disks would stay in use for as long as this rig runs: leave them behind.
ALL=$all/ OWN=$own/ awk 'index($5, ENVIRON["ALL"]) == 1 && index($5, ENVIRON["OWN"]) != 1 { print $5 }' \
    /proc/self/mountinfo | xargs --no-run-if-empty umount --lazy

# Only in here do the rig's own programs for all users (su, sudo) and its device files have their effect.
mount -o remount,bind,suid,dev "$own/root" || exit

# Control groups as rigs have them, also where this machine has those of old: with these alone does systemd enforce what a
# unit may open and whom it may talk to. In one of its own, or all rigs would share those of a unit.
if [ "$(stat -f -c %T /sys/fs/cgroup)" != cgroup2fs ] && mount -t cgroup2 cgroup2 /sys/fs/cgroup; then
    mkdir -p "/sys/fs/cgroup/$group" && echo $$ >"/sys/fs/cgroup/$group/cgroup.procs"
fi

# 133 is systemd-nspawn --keep-unit saying that the rig reboots itself: whoever started it has to start it again.
while "$@"; [ $? -eq 133 ]; do :; done
