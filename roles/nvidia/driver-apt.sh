# apt and dpkg behind the names that the scripts of this role use.
# Packages of which dpkg is half-way through are in the way of all others; those that compile modules go first.
mend() {
  half=$(dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' 2>/dev/null | awk '$1 ~ /^i[^i]/ || $1 ~ /^.[FHUW]/ || $1 ~ /R$/ { print $2 }')
  [ -n "$half" ] || [ -n "$(dpkg --audit)" ] || { rm -f "$STATE/taken-out"; return 0; }
  # nvidia-kernel-dkms, nvidia-dkms-580-open
  culprits=$(printf '%s\n' "$half" | grep -E '^nvidia-(.*-)?dkms(-|$)' || :)
  if [ -n "$culprits" ]; then
    build_errors | while IFS= read -r line; do say "$line"; done
    # shellcheck disable=SC2086 # names, one word each
    say "taking out what does not compile:" $culprits
    # A run that is cut from here on has left its word for the next one.
    printf '%s\n' "$culprits" | write "$STATE/taken-out" 644
    # shellcheck disable=SC2086 # names, one word each
    patiently watched dpkg --purge --force-depends $culprits || fail "dpkg --purge $culprits failed: $(reason)"
  fi
  say "finishing what an interrupted installation left"
  # What needs the packages that went is left over, and goes as well: they do not come once more now, nor others like them.
  patiently configure || [ -s "$STATE/taken-out" ] || fail "dpkg --configure -a failed: ${held:-$(reason)}; mend it on the rig"
  {
    cat /etc/apt/preferences 2>/dev/null || :
    [ ! -s "$STATE/taken-out" ] || printf '\nPackage: nvidia-*dkms*\nPin: version *\nPin-Priority: -1\n'
  } >"$work/preferences"
  patiently watched apt -y -f --allow-change-held-packages -o "Dir::Etc::preferences=$work/preferences" install || fail "apt-get -f install failed: ${held:-$(reason)}; mend it on the rig"
  rm -f "$STATE/taken-out"
}
# holds: the packages that are held; hold NAMES, unhold NAMES.
holds() { mark showhold | sort -u; }
hold() { mark hold "$@" >"$log" 2>&1; }
unhold() { mark unhold "$@" >"$log" 2>&1; }
# keep_before: the packages of the driver that is there, so that there is a way back from the next one. While one that nobody
# has proved is there, the way back stays the one from it.
keep_before() {
  [ ! -e "$STATE/unproven" ] || return 0
  rm -rf "$BEFORE"
  [ -n "$REPLACED" ] || return 0
  mkdir -p "$BEFORE/deb"
  wanted=
  for name in $REPLACED; do wanted="$wanted $name=$(dpkg-query -W -f='${Version}' "$name" 2>/dev/null)"; done
  # shellcheck disable=SC2086 # names, one word each
  if (cd "$BEFORE/deb" && chown _apt . 2>/dev/null; watched apt download $wanted); then
    cat "$STATE/held" >"$BEFORE/held" 2>/dev/null || :
    known >"$BEFORE/record"
    # shellcheck disable=SC2086 # names, one word each
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
# leave NAMES: as names of `bring`. clear_away NAMES: what has to go before it.
leave() { for name; do echo "$name-"; done; }
clear_away() { :; }
# bring_back NAMES: the packages that were kept, and these go.
bring_back() {
  # shellcheck disable=SC2046 # names, one word each
  patiently watched apt -y --allow-downgrades --allow-change-held-packages --no-install-recommends install "$BEFORE"/deb/*.deb $(leave "$@")
}
