# Starts a reboot, unless what serves here is at work: $PORTS are those of our services, "PORT NAME" a line.
lock
while read -r port name; do
  [ -n "$port" ] || continue
  for _ in $(seq 30); do
    busy=$(ss -Htn state established "sport = :$port" 2>/dev/null | wc -l)
    [ "$busy" -gt 0 ] || break
    say "$name has $busy open connections, waiting for them to end"
    sleep 2
  done
  [ "$busy" -eq 0 ] || fail "$name is at work ($busy open connections), so this rig was not rebooted; stop it, or deploy again when it is quiet"
done <<END
$PORTS
END
say "rebooting"
# The connection ends in order before the machine does.
systemd-run -q --on-active=1 --timer-property=AccuracySec=100ms systemctl reboot
