# Starts a reboot, unless what serves here is at work: $DRAINS are ours that run.
lock
while read -r unit _; do
  [ -n "$unit" ] || continue
  drain "$unit" || fail "$unit is at work, so this rig was not rebooted; deploy again when it is quiet, or stop it"
done <<END
$DRAINS
END
say "rebooting"
# The connection ends in order before the machine does.
transient -q --on-active=1 --timer-property=AccuracySec=100ms -- systemctl reboot
