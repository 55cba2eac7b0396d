# Starts a reboot, unless what serves here is at work: $SERVICES are ours that run, "URL PORT NAME" a line.
lock
# at_work URL PORT NAME: how many requests a service has. An engine that tells its slots knows it; of another one an open
# connection counts as a request.
at_work() {
  key=/etc/rigwright/${3%@*}.key
  slots=$({ [ ! -f "$key" ] || printf 'header = "Authorization: Bearer %s"\n' "$(head -n 1 "$key")"; } |
    curl -q -s --noproxy '*' --config - --max-time 5 -- "$1/slots" 2>/dev/null) || slots=
  case $slots in
    '['*) printf %s "$slots" | grep -o '"is_processing": *true' | wc -l ;;
    *) ss -Htn state established "sport = :$2" 2>/dev/null | wc -l ;;
  esac
}
while read -r url port name; do
  [ -n "$name" ] || continue
  for _ in $(seq 30); do
    count=$(at_work "$url" "$port" "$name")
    [ "$count" -gt 0 ] || break
    say "$name answers $count requests, waiting for them to end"
    sleep 2
  done
  [ "$count" -eq 0 ] || fail "$name is at work ($count requests), so this rig was not rebooted; deploy again when it is quiet, or stop it"
done <<END
$SERVICES
END
say "rebooting"
# The connection ends in order before the machine does.
transient -q --on-active=1 --timer-property=AccuracySec=100ms -- systemctl reboot
