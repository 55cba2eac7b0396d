# dnf and rpm behind the names that the scripts of this role use.
mend() { :; }
let_go() {
  # shellcheck disable=SC2046 # names, one word each
  [ ! -s "$STATE/held" ] || dnf -q versionlock delete $(cat "$STATE/held") >/dev/null 2>&1 || :
}
keep_before() {
  rm -rf "$BEFORE"
  [ -n "$REPLACED" ] || return 0
  mkdir -p "$BEFORE/rpm"
  # shellcheck disable=SC2046,SC2086 # names, one word each
  set -- $(rpm -q $REPLACED)
  # shellcheck disable=SC2086
  if watched dnf -q download --destdir "$BEFORE/rpm" "$@"; then printf '%s\n' $REPLACED >"$BEFORE/packages"
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
leave() { [ $# = 0 ] || watched dnf -q -y --setopt=clean_requirements_on_remove=False remove "$@"; }
bring_back() {
  [ $# = 0 ] || watched dnf -q -y --setopt=clean_requirements_on_remove=False remove "$@"
  watched dnf -q -y --allowerasing install "$BEFORE"/rpm/*.rpm
}
reinstall() { watched dnf -q -y reinstall "$@"; }
