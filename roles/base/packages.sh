# Installs $PACKAGES and appends every package that came with them to $RECORD.
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l UCF_FORCE_CONFFOLD=1
mkdir -p "$(dirname "$RECORD")"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
names() { dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' | awk '$1 == "ii" { print $2 }' | sort; }
# apt COMMAND …: what it does shows every five seconds.
apt() {
  apt-get -q -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 "$@" >"$log" 2>&1 </dev/null &
  shown=
  while kill -0 $! 2>/dev/null; do
    sleep 0.5
    tick=$(((${tick:-0} + 1) % 10))
    now=$(tail -n1 "$log" | cut -c1-90)
    [ "$tick" -ne 0 ] || [ "$now" = "$shown" ] || { say "$now"; shown=$now; }
  done
  wait $!
}
if [ -n "$(dpkg --audit)" ]; then
  say "finishing what an interrupted installation left"
  dpkg --configure -a >"$log" 2>&1 </dev/null || fail "dpkg --configure -a failed: $(tail -n1 "$log"); mend it on the rig"
fi
# Recorded before and after, so that an interrupted installation is accounted for too.
[ -e "$RECORD.before" ] || names >"$RECORD.before"
say "reading package lists"
apt update || fail "apt-get update failed: $(grep -m1 -E '^[EW]:' "$log" || tail -n1 "$log"); check the rig's network and sources"
say "installing $PACKAGES"
# shellcheck disable=SC2086 # names, one word each
apt install -y --no-install-recommends -o Dpkg::Options::=--force-confold $PACKAGES ||
  fail "apt-get install failed: $(grep -m3 -E '^E:|Depends:' "$log" | tr '\n' ' ')$(apt-mark showhold | tr '\n' ' '); mend it with apt on the rig"
names | comm -13 "$RECORD.before" - >>"$RECORD"
sort -u -o "$RECORD" "$RECORD"
rm -f "$RECORD.before"
