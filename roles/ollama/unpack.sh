# Installs release $ID from $ARCHIVES, which lie in $WORK, a line "SHA256 NAME" each. Nobody's account unpacks them, and starts
# the program once, before the release has its name. What serves is left alone.
lock
if have; then rm -rf -- "$WORK"; exit 0; fi
no_archive="rig.ollama: it was not installed; name another archive"
most_files=20000 most_bytes=17179869184
printf '%s\n' "$ARCHIVES" | while read -r sum name; do
  at=$WORK/$name
  # What was sent has not been looked at yet.
  is=$(sha256sum <"$at") || is=
  if [ "${is%% *}" != "$sum" ]; then
    rm -f -- "$at"
    fail "$name arrived damaged, or is another file than its sha256 says, and was thrown away; run again, or correct the sum"
  fi
  chmod 644 "$at"
done
# unpacker OPTION … -- COMMAND …: nobody's account, that can write to the new release alone.
unpacker() { shut_in --uid="$BUILDER" --gid="$BUILDER" --pipe --wait --collect -p PrivateNetwork=yes -p RuntimeMaxSec=3600 "$@"; }
# members NAME: what is in an archive, a line "KIND SIZE NAME" each. What tar quotes has letters that no name of theirs has.
members() {
  # shellcheck disable=SC2016 # its own arguments
  unpacker --description="rigwright looks at $1" -p BindReadOnlyPaths="$WORK" -- /bin/sh -c '
    case $1 in *.zst) zstd -qdc -- "$1" ;; *.gz | *.tgz) gzip -dc -- "$1" ;; *) cat -- "$1" ;; esac 2>/dev/null |
      head -c "$2" | tar -tv --numeric-owner --quoting-style=escape 2>/dev/null | head -n "$3"' sh "$WORK/$1" "$most_bytes" $((most_files + 1))
}
seen=$(mktemp)
trap 'rm -f -- "$seen"' EXIT
printf '%s\n' "$ARCHIVES" | while read -r _ name; do members "$name" | awk -v from="$name" '{ print from, $0 }'; done >"$seen"
# A file, a folder, or a link within; under bin/ and lib/, as upstream has it; as many, and as large, as a release may be.
wrong=$(awk -v files="$most_files" -v bytes="$most_bytes" '
  { kind = substr($2, 1, 1); size = $4; name = $0; for (field = 1; field <= 6; field++) sub(/^[^ ]+ +/, "", name); link = name; sub(/ -> .*/, "", name); total += size }
  name ~ /\\/ || name ~ /^\// || ("/" name "/") ~ /\/\.\.\// { print name " lies outside of it"; exit }
  kind !~ /[-dl]/ { print name " is neither a file nor a link within it"; exit }
  kind == "l" && link ~ / -> \// { print name " is a link out of it"; exit }
  total > bytes || NR > files { print "it has more than a release may have"; exit }' "$seen")
[ -z "$wrong" ] || fail "$(printf '%s\n' "$ARCHIVES" | cut -d' ' -f2 | paste -sd' ' -): $(printf %s "$wrong" | tr -cd ' -~' | cut -c1-120); $no_archive"
grep -qE ' (\./)?bin/ollama$' "$seen" || fail "$(printf '%s\n' "$ARCHIVES" | cut -d' ' -f2 | paste -sd' ' -): there is no bin/ollama in it; $no_archive"
need=$(awk '{ total += $4 } END { printf "%.0f", total + 67108864 }' "$seen")
free=$(free_bytes "$RELEASES")
[ "$free" -ge "$need" ] || fail "installing Ollama needs $(human "$need") in $RELEASES, the disk has $(human "$free"); free some"
empty_stage
# Its parent is root's, and closed to all others but for the way through.
chmod 711 "$stage"
install -d -m 700 -o "$BUILDER" -g "$BUILDER" "$stage/tree"
say "unpacking Ollama $VERSION, $(human "$need")"
printf '%s\n' "$ARCHIVES" | while read -r _ name; do
  # shellcheck disable=SC2016 # its own arguments
  unpacker --description="rigwright unpacks $name" -p BindReadOnlyPaths="$WORK" -p BindPaths="$stage/tree" -p WorkingDirectory="$stage/tree" -- /bin/sh -c '
    case $1 in *.zst) zstd -qdc -- "$1" ;; *.gz | *.tgz) gzip -dc -- "$1" ;; *) cat -- "$1" ;; esac |
      head -c "$2" | tar -x --no-same-owner --no-same-permissions' sh "$WORK/$name" "$most_bytes" >"$stage/said" 2>&1 ||
    undo "$name could not be unpacked to $RELEASES: $(grep -v '^Running as unit' "$stage/said" | tail -n1 | tr -cd ' -~' | cut -c1-160); is the disk full?"
done
rm -f -- "$stage/said"
# Nothing but what that account itself made becomes root's, and no link of it leads out.
strange=$(find "$stage/tree" \( ! -user "$BUILDER" -o ! -type l ! -type f ! -type d -o -type f -links +1 \) -print -quit)
[ -n "$strange" ] || strange=$(find "$stage/tree" -type l -exec readlink -m -- {} + | grep -vm1 "^$stage/tree/") || :
[ -z "$strange" ] || undo "$strange is no file of this release; $no_archive"
for part in bin lib; do
  [ ! -e "$stage/tree/$part" ] || mv -T "$stage/tree/$part" "$stage/$part"
done
rm -rf -- "$stage/tree"
[ -f "$stage/bin/ollama" ] && [ ! -L "$stage/bin/ollama" ] || undo "bin/ollama is no program; $no_archive"
own_stage
chmod 755 "$stage/bin/ollama"
# It is a stranger's until now: shut in, without a network, so that no server of the owner's answers for it.
tried() {
  unpacker --description="rigwright tries a release" -p RuntimeMaxSec=60 -p LimitFSIZE=1M -p WorkingDirectory=/ --setenv=HOME=/tmp \
    --setenv=OLLAMA_HOST=127.0.0.1:9 -- "$@" 2>&1 | head -c 65536 | grep -v '^Running as unit' || :
}
said=$(tried "$stage/bin/ollama" --version)
printf '%s\n' "$said" | grep -qE "version is v?$(printf %s "$VERSION" | sed 's/\./\\./g')\$" ||
  undo "bin/ollama --version does not say $VERSION but: $(printf '%s\n' "$said" | tail -n1 | tr -cd ' -~' | cut -c1-160); set rig.ollama.version to what the archive is, or name another"
if [ -x "$stage/lib/ollama/llama-server" ]; then
  lacking=$(tried "$stage/lib/ollama/llama-server" --version | grep -m1 'error while loading shared libraries' | tr -cd ' -~' | cut -c1-200)
  [ -z "$lacking" ] || undo "the release does not start on this rig: $lacking; install what has that library, or name another archive"
fi
printf '%s\n' "$MANIFEST" >"$stage/release.json"
printf '{\n "host": "%s",\n "ended": "%s",\n "rigwright": "%s"\n}\n' "$(uname -n)" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$RIGWRIGHT" >"$stage/receipt.json"
own_stage
sums=$(cd "$stage" && find . ! -type d -exec sha256sum {} +) || undo "the release could not be read back from $RELEASES"
printf '%s\n' "$sums" | sort -k 2 | write "$stage/sums.txt" 644
chmod 755 "$stage"
take_name
say "Ollama $VERSION installed, release $ID"
