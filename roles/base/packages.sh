# Installs $PACKAGES and appends every package that came with them to $RECORD. The package manager's functions stand above.
mkdir -p "$(dirname "$RECORD")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# watched COMMAND …: what it does shows every five seconds.
watched() {
  "$@" >"$log" 2>&1 </dev/null &
  shown=
  while kill -0 $! 2>/dev/null; do
    sleep 0.5
    tick=$(((${tick:-0} + 1) % 10))
    now=$(tail -n1 "$log" | cut -c1-90)
    [ "$tick" -ne 0 ] || [ "$now" = "$shown" ] || { say "$now"; shown=$now; }
  done
  wait $!
}
repair
# Recorded before and after, so that an interrupted installation is accounted for too.
[ -e "$RECORD.before" ] || installed >"$RECORD.before"
say "reading package lists"
refresh
say "installing $PACKAGES"
# shellcheck disable=SC2086 # names, one word each
add $PACKAGES
installed | comm -13 "$RECORD.before" - >>"$RECORD"
sort -u -o "$RECORD" "$RECORD"
rm -f "$RECORD.before"
