# apt and dpkg behind the names that the scripts of this role use.
# Packages of which dpkg is half-way through are in the way of all others; those that compile modules go first.
mend() {
  half=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' 2>/dev/null | awk '$1 ~ /^i[^i]/ || $1 ~ /^.[FHUW]/ || $1 ~ /R$/ { print $2 }')
  [ -n "$half" ] || [ -n "$(dpkg --audit)" ] || return 0
  culprits=$(printf '%s\n' "$half" | grep -E '^nvidia.*dkms$|^nvidia-(open-)?kernel' || :)
  if [ -n "$culprits" ]; then
    build_errors | while IFS= read -r line; do say "$line"; done
    # shellcheck disable=SC2086 # names, one word each
    say "taking out what does not compile:" $culprits
    # shellcheck disable=SC2086
    patiently watched dpkg --purge --force-depends $culprits || fail "dpkg --purge $culprits failed: $(reason)"
  fi
  say "finishing what an interrupted installation left"
  patiently configure || fail "dpkg --configure -a failed: ${held:-$(reason)}; mend it on the rig"
  patiently watched apt -y -f install || fail "apt-get -f install failed: ${held:-$(reason)}; mend it on the rig"
}
# let_go: the holds of ours, while packages change.
let_go() {
  [ ! -s "$STATE/held" ] || { tr '\n' '\0' <"$STATE/held" | xargs -0r apt-mark -qq unhold >/dev/null 2>&1 || :; }
}
# keep_before: the packages of the driver that is there, so that there is a way back from the next one.
keep_before() {
  rm -rf "$BEFORE"
  [ -n "$REPLACED" ] || return 0
  mkdir -p "$BEFORE/deb"
  wanted=
  for name in $REPLACED; do wanted="$wanted $name=$(dpkg-query -W -f='${Version}' "$name" 2>/dev/null)"; done
  # shellcheck disable=SC2086 # names, one word each
  if (cd "$BEFORE/deb" && chown _apt . 2>/dev/null; watched apt download $wanted); then
    # shellcheck disable=SC2086
    printf '%s\n' $wanted >"$BEFORE/packages"
  else
    rm -rf "$BEFORE"
    say "no way back: $(reason)"
  fi
}
# would_leave NAMES: what installing these takes away, to $work/leaving; 1 where it cannot be done, as $log says.
would_leave() {
  # shellcheck disable=SC2086 # options, one word each
  apt -s $may --no-install-recommends install "$@" >"$log" 2>&1 || return 1
  awk '$1 == "Remv" { print $2 }' "$log" | sort -u >"$work/leaving"
}
# leave NAMES: as names of `bring`.
leave() { for name; do echo "$name-"; done; }
# bring_back NAMES: the packages that were kept, and these go.
bring_back() {
  # shellcheck disable=SC2046 # names, one word each
  patiently watched apt -y --allow-downgrades --allow-change-held-packages --no-install-recommends install "$BEFORE"/deb/*.deb $(leave "$@")
}
# reinstall NAMES: their files anew.
reinstall() { patiently watched apt -y --reinstall --allow-change-held-packages install "$@"; }
