# Installs release $ID from the distribution's packages in $STAMP, whose sum is $IDENTITY. Apt fetches them by its own signed
# lists, what they need comes as packages, and is noted in $RECORD. They are not installed but unpacked, and started once.
lock
if have; then exit 0; fi
free=$(free_bytes "$RELEASES")
[ "$free" -ge "$NEED_INSTALLED" ] || fail "installing needs $(human "$NEED_INSTALLED") in $RELEASES, the disk has $(human "$free"); free some"
repair
readable
if [ "$(head -n1 "$STAMP" 2>/dev/null)" = "$IDENTITY" ]; then
  tail -n +2 "$STAMP" >"$work/wanted"
  # Of this run the lists are new.
  if [ -z "$(find "$STAMP" -mmin -10)" ]; then
    say "reading package lists"
    refresh
  fi
else # it is a lock that says what to take
  offered_now
  [ "$sum" = "$IDENTITY" ] ||
    fail "rig.llamacpp.source: the lock has other packages than this rig's sources now: $(awk '{ print $1, $2 }' "$work/offered" | paste -sd, - | sed 's/,/, /g'); bring its sources to the same state, or lock anew"
  remember
  cp "$work/offered" "$work/wanted"
fi
# shellcheck disable=SC2046 # names, one word each
set -- $(awk '{ print $1 "=" $2 }' "$work/wanted")
instead="set rig.llamacpp.distro_version to what they have, or source to build or prebuilt"
offer "$@"
cmp -s "$work/offered" "$work/wanted" || fail "rig.llamacpp.source: this rig's sources have other packages by the names of those that were taken: $(comm -23 "$work/offered" "$work/wanted" | head -n1 | cut -c1-100); find out why, or $instead"
driver=$(grep -m1 -E '^(libcuda1|libcuda1-|libnvidia-|nvidia-)' "$work/needed") || :
[ -z "$driver" ] || fail "rig.llamacpp.source: $driver would come with these packages, and no driver is theirs to bring; have it first, by deploys/nvidia.py say"
if [ -s "$work/needed" ]; then
  needed=$(paste -sd' ' "$work/needed")
  [ -n "$INSTALL" ] || fail "missing packages: $needed; install them, or set rig.base.install_packages"
  mkdir -p "$(dirname "$RECORD")"
  say "installing $needed"
  # shellcheck disable=SC2086 # names, one word each
  bring $needed
  [ -z "$failure" ] || fail "$failure"
fi
empty_stage
# Apt fetches as an account of its own, that can write here alone; then it is root's.
debs=$RELEASES/.$ID.debs
install -d -m 755 "$debs"
if id _apt >/dev/null 2>&1; then chown _apt "$debs"; fi
say "fetching $(awk 'END { print NR }' "$work/wanted") packages"
fetch() { (cd "$debs" && apt download "$@"); }
patiently watched fetch "$@" || { lacks=$(reason); rm -rf -- "$debs"; undo "rig.llamacpp.source: apt cannot fetch what was taken: ${held:-$lacks}; $instead"; }
mv -T -- "$debs" "$stage/debs"
chown -R --no-dereference root:root "$stage/debs"
mkdir -p "$stage/tree/usr/lib" "$stage/bin" "$stage/lib"
while read -r name version sum; do
  found=$(find "$stage/debs" -type f -name "${name}_*.deb")
  is=$([ ! -f "$found" ] || sha256sum <"$found")
  [ "${is%% *}" = "$sum" ] || undo "rig.llamacpp.source: $name $version is not what apt's lists say; run again"
  dpkg-deb -x "$found" "$stage/tree" >"$log" 2>&1 || undo "release $ID could not be unpacked to $RELEASES: $(tail -n1 "$log"); is the disk full?"
  rm -f -- "$found"
done <"$work/wanted"
# All of it lies in one folder, where the programs look for each other's libraries and for kernels.
find "$stage/tree/usr/lib" \( -type f -o -type l ! -lname '*/*' \) \( -name '*.so' -o -name '*.so.[0-9]*' \) -exec cp -P -t "$stage/lib" -- {} + 2>"$log" ||
  undo "release $ID could not be laid out: $(tail -n1 "$log"); is the disk full?"
tree=$(readlink -f -- "$stage/tree")
for name in $TARGETS; do
  program=$(readlink -f -- "$tree/usr/bin/$name") || continue
  # No link of theirs leads to a file of the rig.
  case $program in "$tree"/*) [ -f "$program" ] || continue ;; *) continue ;; esac
  cp -- "$program" "$stage/lib/$name"
  # Their own path to libraries is that of the distribution, where others may lie by now.
  cat >"$stage/bin/$name" <<'END'
#!/bin/sh
LD_LIBRARY_PATH=$(cd -P -- "${0%/*}/../lib" && pwd) || exit 127
export LD_LIBRARY_PATH
exec "$LD_LIBRARY_PATH/${0##*/}" "$@"
END
  chmod 755 "$stage/bin/$name" "$stage/lib/$name"
done
rm -rf -- "$stage/tree" "$stage/debs"
[ -e "$stage/bin/llama-server" ] || undo "rig.llamacpp.source: there is no /usr/bin/llama-server in $*; $instead"
no_strangers
own_stage
starts "set rig.llamacpp.source to build or prebuilt"
has_code "$stage/lib/libggml-cuda.so" "set rig.llamacpp.source to build"
asked_flags
printf '%s\n' "$MANIFEST" >"$stage/release.json"
{
  printf '{\n "host": "%s",\n "ended": "%s",\n "rigwright": "%s",\n' "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$RIGWRIGHT"
  printf ' "packages": "%s"\n}\n' "$(awk '{ print $1, $2 }' "$work/wanted" | paste -sd, - | sed 's/,/, /g' | tr -cd ' !#-[]-~')"
} >"$stage/receipt.json"
own_stage
sums=$(cd "$stage" && find . ! -type d -exec sha256sum {} +) || undo "the release could not be read back from $RELEASES"
printf '%s\n' "$sums" | sort -k 2 | write "$stage/sums.txt" 644
take_name
say "release $ID installed from packages of the distribution"
