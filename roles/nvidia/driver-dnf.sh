# dnf and rpm behind the names that the scripts of this role use.
mend() { :; }
# dnf 5 says a name and its version in two lines, dnf 4 in one: NAME-EPOCH:VERSION-RELEASE.*
holds() {
  dnf -q versionlock list 2>/dev/null |
    sed -nE 's/^Package name: ([a-z0-9][a-z0-9+._-]*)$/\1/p; s/^([a-z0-9][a-z0-9+._-]*)-[0-9]+:[0-9].*$/\1/p' | sort -u
}
hold() { dnf -q versionlock add "$@" >"$log" 2>&1; }
unhold() { dnf -q versionlock delete "$@" >"$log" 2>&1; }
keep_before() {
  [ ! -e "$STATE/unproven" ] || return 0
  rm -rf "$BEFORE"
  [ -n "$REPLACED" ] || return 0
  mkdir -p "$BEFORE/rpm"
  # shellcheck disable=SC2086 # names, one word each
  rpm -q $REPLACED >"$work/whole"
  # shellcheck disable=SC2046 # names, one word each
  set -- $(cat "$work/whole")
  if watched dnf -q download --destdir "$BEFORE/rpm" "$@"; then
    cat "$STATE/held" >"$BEFORE/held" 2>/dev/null || :
    known >"$BEFORE/record"
    # shellcheck disable=SC2086 # names, one word each
    printf '%s\n' $REPLACED >"$BEFORE/packages"
  else
    rm -rf "$BEFORE"
    say "no way back: $(reason)"
  fi
}
# What has to go first is taken by dnf itself where $may allows it; nothing else leaves.
would_leave() {
  # shellcheck disable=SC2086 # options, one word each
  dnf --assumeno --setopt=install_weak_deps=False $may install "$@" >"$log" 2>&1 </dev/null || :
  ! grep -qE '^Error' "$log" || return 1
  awk '/^[^ ]/ { gone = /^Removing/ } gone && /^ [^ ]/ { print $1 }' "$log" | sort -u >"$work/leaving"
}
leave() { :; }
clear_away() { [ $# = 0 ] || drop "$@"; }
bring_back() {
  clear_away "$@" || return 1
  watched dnf -q -y --allowerasing install "$BEFORE"/rpm/*.rpm
}
