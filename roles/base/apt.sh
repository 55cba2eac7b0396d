# apt behind the names that packages.sh and remove.sh use.
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l UCF_FORCE_CONFFOLD=1
# Half installed ones too.
installed() { dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' | awk '$1 !~ /^.[cn]/ { print $2 }' | sort -u; }
# Those that the owner had once: their settings are still there, and are not ours.
leftovers() { dpkg-query -W -f='${db:Status-Abbrev} ${Package}\n' | awk '$1 == "rc" { print $2 }' | sort -u; }
by_hand() { mark showmanual | sort -u; }
# apt waits for dpkg's lock when it is told so, and never for that of its lists.
locked() { sed -nE 's/^E: (Could not get lock.*|Unable to acquire the dpkg.*)/\1/p; s/^dpkg: error: (.*lock.*)/\1/p' "$log"; }
# What went wrong: the package that dpkg names, with what its script said before, or what apt says.
reason() {
  said=$(grep -m1 -B1 -A1 '^dpkg: error' "$log" || grep -m3 -E '^E:|Depends:' "$log" || tail -n1 "$log")
  printf '%s\n' "$said" | tr -s '\n ' '  ' | cut -c1-500
}
# Where apt reads the sources that are files of their own, if it is not where the owner has them; a file of further settings.
parts='' settings=''
apt() { apt-get -q ${settings:+-c} ${settings:+"$settings"} ${parts:+-o} ${parts:+"Dir::Etc::SourceParts=$parts"} -o DPkg::Lock::Timeout="${PATIENCE:-600}" -o Dpkg::Use-Pty=0 -o APT::Get::AutomaticRemove=false "$@"; }
mark() { apt-mark ${parts:+-o} ${parts:+"Dir::Etc::SourceParts=$parts"} "$@"; }
# A file of sources that apt cannot read, a stranger's perhaps, keeps it from everything: it is named, and left out of what
# apt reads here.
readable() {
  until apt indextargets >"$log" 2>&1; do
    bad=$(sed -nE 's|^E: .* (/[^ ]+\.(list\|sources))( .*)?$|\1|p' "$log" | head -n1)
    if [ -z "$parts" ]; then
      eval "$(apt-config shell there Dir::Etc::SourceParts/d)"
      parts=$work/parts
      mkdir "$parts"
      cp -L "${there:-/nonexistent}"/* "$parts" 2>/dev/null || :
    fi
    [ -n "$bad" ] && [ -e "$parts/${bad##*/}" ] || return 0
    rm -f -- "$parts/${bad##*/}"
    say "apt cannot read ${bad##*/}, going on without it: $(grep -m1 '^E:' "$log")"
  done
}
configure() { [ -z "$(dpkg --audit)" ] || dpkg --configure -a >"$log" 2>&1 </dev/null 9>&-; }
repair() {
  [ -n "$(dpkg --audit)" ] || return 0
  say "finishing what an interrupted installation left"
  patiently configure || fail "dpkg --configure -a failed: ${held:-$(reason)}; mend it on the rig"
}
# A source that does not work, a stranger's perhaps, stops nothing by itself: what it says is told if a package is missing.
refresh() {
  broken=
  patiently watched apt update || {
    [ -z "$held" ] || fail "apt is in use for ten minutes: $held; see what runs there, then run again"
    broken=$(grep -m1 '^E:' "$log" || tail -n1 "$log")
    say "a package source does not work, going on without it: $broken"
  }
  broken=${broken:-$(grep -m1 '^W: Failed' "$log" || :)}
}
lacks() {
  room=$(awk '/^The following packages will be REMOVED/ { getline; print "they need the room of" $0 }' "$log")
  echo "$(reason) $room $(mark showhold | tr '\n' ' ')" | tr -s ' ' | sed 's/ $//'
}
hint() { if [ -n "${advice-}" ]; then echo "$advice"; elif [ -n "$broken" ]; then echo "$broken; check the rig's network and sources"; else echo "mend it with apt on the rig"; fi; }
# What `add` would install that is not there goes to $work/list. It never takes a package away to make room for ours, unless
# $may says otherwise.
may=--no-remove
coming() {
  # shellcheck disable=SC2086 # options, one word each
  apt -s $may --no-install-recommends install "$@" >"$log" 2>&1 || fail "apt-get install failed: $(lacks); $(hint)"
  awk '$1 == "Inst" && $3 !~ /^\[/ { print $2 }' "$log" | sort -u >"$work/list"
}
# What of it this very command unpacked goes to $work/done.
# shellcheck disable=SC2034 # packages.sh reads $failure
add() { patiently attempt "$@" || failure="apt-get install failed: ${held:-$(lacks)}; $(hint)"; }
attempt() {
  code=0
  # shellcheck disable=SC2086 # options, one word each
  watched apt -y $may --no-install-recommends -o Dpkg::Options::=--force-confold install "$@" || code=$?
  sed -nE 's/^Unpacking ([^ ]+) .*/\1/p' "$log" | sed "s/:$(dpkg --print-architecture)\$//" >>"$work/done"
  return "$code"
}
# Of these, what nothing else on the rig needs, goes to $work/list: apt is asked as if they alone had come by themselves.
# Its own marks stay as they are.
unneeded() {
  for name in "$@"; do
    case $name in *:*) of=${name#*:} ;; *) of=$(dpkg --print-architecture) ;; esac
    printf 'Package: %s\nArchitecture: %s\nAuto-Installed: 1\n\n' "${name%:*}" "$of"
  done >"$work/states"
  # Our own packages must not keep each other by suggesting one another, nor as headers of the kernel that boots next.
  echo '#clear APT::NeverAutoRemove;' >"$work/clear.conf"
  apt -s -c "$work/clear.conf" -o APT::Protect-Kernels=false -o Dir::State::extended_states="$work/states" -o APT::AutoRemove::RecommendsImportant=false \
    -o APT::AutoRemove::SuggestsImportant=false autoremove >"$log" 2>&1 || fail "apt-get autoremove -s failed: $(reason); mend it with apt on the rig"
  awk '$1 == "Remv" { print $2 }' "$log" | sort -u >"$work/list"
}
drop() { # drop NAMES: these and no others
  apt -s remove "$@" >"$log" 2>&1 || return 1
  printf '%s\n' "$@" | sort -u >"$work/going"
  more=$(awk '$1 == "Remv" || $1 == "Inst" { print $2 }' "$log" | sort -u | comm -13 "$work/going" -)
  [ -z "$more" ] || { echo "E: they would take along: $more" >"$log"; return 1; }
  mark showauto | sort | comm -12 - "$work/going" >"$work/auto"
  patiently watched apt -y remove "$@" && return 0
  # To apt, what was to be removed by name is no longer what came by itself.
  # shellcheck disable=SC2046 # names, one word each
  [ ! -s "$work/auto" ] || mark -qq auto $(cat "$work/auto") >/dev/null 2>&1 || :
  return 1
}
# clean NAMES: settings of theirs that nobody changed go too. A file may be listed by several packages, and the sum that it
# had when it came is known of one.
clean() {
  settings() { dpkg-query -W -f='${Conffiles}\n' "$@" 2>/dev/null | grep '^ /' || :; }
  # shellcheck disable=SC2034 # what follows the sum
  settings "$@" | while read -r file sum rest; do
    at=${DPKG_ROOT-}$file
    [ "$sum" = newconffile ] || [ ! -e "$at" ] || [ "$(md5sum <"$at" | cut -d' ' -f1)" = "$sum" ] || echo "$file"
  done | sort -u >"$work/changed"
  [ ! -s "$work/changed" ] || say "$(tr '\n' ' ' <"$work/changed")stay, they were changed here"
  : >"$work/clean"
  for name in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$name" 2>/dev/null)" = "rc " ] || continue
    settings "$name" | awk '{ print $1 }' | grep -qxF -f "$work/changed" || echo "$name" >>"$work/clean"
  done
  # shellcheck disable=SC2046 # names, one word each
  [ ! -s "$work/clean" ] || patiently watched apt -y purge $(cat "$work/clean")
}
