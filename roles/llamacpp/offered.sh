# What the rig's own apt would take for llama.cpp, on top of manager.sh and apt.sh. $PACKAGES are asked for, $BESIDE where there
# is one, of $VERSION where that is set. Nothing is installed: what is made of the sources of llama.cpp and ggml
# becomes a release of ours beside others, so that no upgrade changes what serves.
instead="have a suite among its sources that has one, or set source to build or prebuilt"
cache() { apt-cache ${settings:+-c} ${settings:+"$settings"} ${parts:+-o} ${parts:+"Dir::Etc::SourceParts=$parts"} "$@"; }
# asking: apt as if nothing of llama.cpp were installed, and of $VERSION as if all others were none.
asking() {
  eval "$(apt-config shell dpkg_status Dir::State::status/f wishes Dir::Etc::Preferences/f)"
  # shellcheck disable=SC2154 # apt-config names it
  awk -v RS= -v ORS='\n\n' '!/(^|\n)Source: (llama\.cpp|ggml|ggml-[a-z0-9]+)( |\n|$)/ && !/(^|\n)Package: (llama\.cpp|ggml)(\n|$)/' \
    "$dpkg_status" >"$work/status"
  settings=$work/asking.conf
  printf 'Dir::State::status "%s";\n' "$work/status" >"$settings"
  [ -n "$VERSION" ] || return 0
  # shellcheck disable=SC2154 # apt-config names it
  { cat "$wishes" 2>/dev/null || :; printf '\nPackage: src:llama.cpp\nPin: version %s\nPin-Priority: 1001\n' "$VERSION"; } >"$work/wishes"
  printf 'Dir::Etc::Preferences "%s";\n' "$work/wishes" >>"$settings"
}
# offer NAME …: what installing them would take goes to $work/offered, a line `NAME VERSION SHA256` for each package of
# llama.cpp, and to $work/needed, a name for each other one that is not there. Apt of the owner's is as before.
offer() {
  asking
  apt -s $may --no-install-recommends install "$@" >"$log" 2>&1 ||
    fail "rig.llamacpp.source: this rig's own sources have no llama.cpp that it can run${VERSION:+ of version $VERSION}: $(reason); $instead"
  awk '$1 == "Inst" { version = $3 ~ /^\[/ ? $4 : $3; sub(/^\(/, "", version); print $2, version }' "$log" >"$work/list"
  : >"$work/offered"
  : >"$work/needed"
  while read -r name version; do
    cache show "$name=$version" 2>/dev/null | awk -v name="$name" -v version="$version" '
      BEGIN { source = name }
      /^$/ && sum { exit }
      /^Source: / { source = $2 }
      /^SHA256: / { sum = $2 }
      END {
        if (source !~ /^(llama\.cpp|ggml|ggml-[a-z0-9]+)$/) print "needed", name
        else if (sum ~ /^[0-9a-f]+$/ && length(sum) == 64) print "offered", name, version, sum
        else print "unknown", name
      }'
  done <"$work/list" >"$work/told"
  settings=
  unknown=$(awk '$1 == "unknown" { print $2; exit }' "$work/told")
  [ -z "$unknown" ] || fail "rig.llamacpp.source: this rig's sources tell no sha256 of $unknown; $instead"
  sed -n 's/^offered //p' "$work/told" | sort >"$work/offered"
  sed -n 's/^needed //p' "$work/told" >"$work/needed"
  [ -s "$work/offered" ] || fail "rig.llamacpp.source: $* are not made of llama.cpp in this rig's sources; $instead"
}
# offered_now: the same of what the inventory asks for, by lists that are renewed; its sum is in $sum.
offered_now() {
  say "reading package lists"
  refresh
  # shellcheck disable=SC2086 # names, one word each
  set -- $PACKAGES
  for name; do
    cache show "$name" >/dev/null 2>&1 || fail "rig.llamacpp.source: this rig's own sources have no $name${broken:+ ($broken)}; $instead"
  done
  if [ -n "$VERSION" ]; then
    first=$1=$VERSION
    shift
    set -- "$first" "$@"
  fi
  beside=$BESIDE${VERSION:+=$VERSION}
  if cache show "$beside" >/dev/null 2>&1; then set -- "$@" "$beside"; fi
  offer "$@"
  sum=$(sha256sum <"$work/offered")
  sum=${sum%% *}
}
remember() { install -d -m 755 "${STAMP%/*}" && { echo "$sum"; cat "$work/offered"; } | write "$STAMP" 644; }
