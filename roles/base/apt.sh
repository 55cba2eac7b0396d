# apt behind the names that packages.sh and remove.sh use.
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l UCF_FORCE_CONFFOLD=1
installed() { dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' | awk '$1 == "ii" { print $2 }' | sort; }
repair() {
  [ -n "$(dpkg --audit)" ] || return 0
  say "finishing what an interrupted installation left"
  dpkg --configure -a >"$log" 2>&1 </dev/null || fail "dpkg --configure -a failed: $(tail -n1 "$log"); mend it on the rig"
}
refresh() {
  watched apt-get -q -o DPkg::Lock::Timeout=600 update ||
    fail "apt-get update failed: $(grep -m1 -E '^[EW]:' "$log" || tail -n1 "$log"); check the rig's network and sources"
}
add() {
  watched apt-get -q -o DPkg::Lock::Timeout=600 -o Dpkg::Use-Pty=0 install -y --no-install-recommends \
    -o Dpkg::Options::=--force-confold "$@" ||
    fail "apt-get install failed: $(grep -m3 -E '^E:|Depends:' "$log" | tr '\n' ' ')$(apt-mark showhold | tr '\n' ' '); mend it with apt on the rig"
}
unneeded() {
  apt-mark -qq auto "$@" >/dev/null 2>&1 || :
  # Otherwise our own packages keep each other, by suggesting one another.
  apt-get -s -o APT::AutoRemove::RecommendsImportant=false -o APT::AutoRemove::SuggestsImportant=false autoremove 2>/dev/null |
    awk '$1 == "Remv" { print $2 }' | sort
}
drop() { apt-get -qq -y -o DPkg::Lock::Timeout=600 purge "$@" >/dev/null 2>&1 </dev/null || why "apt-get purge failed; run apt-get autoremove on the rig"; }
