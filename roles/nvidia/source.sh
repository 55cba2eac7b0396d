# NVIDIA's repository and the components of the distribution, as files of apt; nothing here changes the rig. $work is a
# folder of the caller. REPO: the folder of this release in NVIDIA's repositories, empty where it is not wanted.
# KEY: the name of its key there. FINGERPRINT: which key alone is taken. COMPONENTS: those of the distribution that are wanted.
SOURCE=rigwright-nvidia.sources
# get URL FILE: by apt's own means, which know the rig's proxies. A blank machine has no curl.
get() {
  if [ -x /usr/lib/apt/apt-helper ]; then /usr/lib/apt/apt-helper -q download-file "$1" "$2"
  else curl -q -fsSL --proto =https,http,file --max-time 60 -o "$2" -- "$1"; fi >"$work/got" 2>&1
}
# packets FILE: the packets of an OpenPGP key, `TAG OFFSET HEADER LENGTH` each; "bad" where it is none.
packets() {
  od -An -v -tu1 -w1 -- "$1" | awk '
    { byte[NR - 1] = $1 + 0 }
    END {
      for (at = 0; at < NR; at += head + size) {
        first = byte[at]
        if (first >= 192) {
          tag = first - 192; a = byte[at + 1]
          if (a < 192) { head = 2; size = a }
          else if (a < 224) { head = 3; size = (a - 192) * 256 + byte[at + 2] + 192 }
          else if (a == 255) { head = 6; size = ((byte[at + 2] * 256 + byte[at + 3]) * 256 + byte[at + 4]) * 256 + byte[at + 5] }
          else { print "bad"; exit }
        } else if (first >= 128) {
          tag = int((first - 128) / 4); kind = first % 4
          if (kind == 0) { head = 2; size = byte[at + 1] }
          else if (kind == 1) { head = 3; size = byte[at + 1] * 256 + byte[at + 2] }
          else if (kind == 2) { head = 5; size = ((byte[at + 1] * 256 + byte[at + 2]) * 256 + byte[at + 3]) * 256 + byte[at + 4] }
          else { print "bad"; exit }
        } else { print "bad"; exit }
        print tag, at, head, size
      }
      if (at != NR) print "bad"
    }'
}
# fingerprint FILE: of a key of version 4 (RFC 4880, 12.2): SHA-1 of its first packet. Nothing for a file that holds another
# key beside it: whoever signs with that one would be believed too.
fingerprint() {
  packets "$1" >"$work/packets"
  ! grep -q bad "$work/packets" && [ "$(awk '$1 == 6' "$work/packets" | wc -l)" = 1 ] || return 1
  read -r tag at head size <"$work/packets"
  [ "$tag/$at" = 6/0 ] && [ "$(od -An -tu1 -j "$head" -N 1 -- "$1" | tr -d ' ')" = 4 ] || return 1
  {
    # shellcheck disable=SC2059 # octal numbers of our own
    printf "\\231\\$(printf %03o $((size / 256)))\\$(printf %03o $((size % 256)))"
    tail -c "+$((head + 1))" -- "$1" | head -c "$size"
  } | sha1sum | cut -d' ' -f1 | tr a-f A-F
}
# trusted_key FILE: NVIDIA's key as text, once it is the one that was asked for; $refusal says why it is not.
trusted_key() {
  refusal=
  get "$REPO/$KEY" "$work/key" || { refusal="$REPO/$KEY cannot be fetched: $(grep -m1 -E '^E:|curl' "$work/got" || tail -n1 "$work/got")"; return 1; }
  sed -n '/^-----BEGIN PGP PUBLIC KEY BLOCK-----/,/^-----END PGP/p' "$work/key" | tr -d '\r' >"$1"
  awk '/^-----END/ { exit } body && !/^=/ { print } /^$/ { body = 1 }' "$1" | base64 -d >"$work/key.bin" 2>/dev/null || :
  found=$(fingerprint "$work/key.bin") || { refusal="$REPO/$KEY is no single key; nothing was changed"; return 1; }
  [ "$found" = "$FINGERPRINT" ] || { refusal="$REPO/$KEY is the key $found, and $FINGERPRINT is the one to be trusted; nothing was changed"; return 1; }
}
# What the file of NVIDIA's repository begins with: where this is, nothing has to be done.
source_head() { printf '# Written by rigwright: %s by the key %s.\n' "$REPO" "$FINGERPRINT"; }
# sources_to FOLDER: the files of apt there. 1 where the key cannot be trusted, with $refusal.
sources_to() {
  [ -z "$REPO" ] || {
    trusted_key "$work/key.asc" || return 1
    {
      source_head
      printf 'Types: deb\nURIs: %s/\nSuites: /\nSigned-By:\n' "$REPO"
      sed 's/^$/./; s/^/ /' "$work/key.asc"
    } | write "$1/$SOURCE" 644
  }
  [ -z "$COMPONENTS" ] || components_to "$1"
}
# components_to FOLDER: what the owner's sources of the distribution say, for the components that they lack. His files stay
# as they are.
components_to() {
  from=/etc/apt
  # What of the wanted ones is not among these; mawk has no `delete` of a whole array.
  # shellcheck disable=SC2016 # of awk
  functions='
    function lacking(have,   n, m, i, words, own, text) {
      n = split(have, own, " "); m = split(wanted, words, " "); text = ""
      for (i = 1; i <= m; i++) if (!among(words[i], own, n)) text = text (text == "" ? "" : " ") words[i]
      return text
    }
    function among(word, own, n,   i) { for (i = 1; i <= n; i++) if (own[i] == word) return 1; return 0 }
    function out(text) { if (!said++) print "# Written by rigwright: further components of the distribution.\n"; print text }'
  # shellcheck disable=SC2016 # of awk
  cat "$from/sources.list" "$from"/sources.list.d/*.list 2>/dev/null | grep -v '^# Written by rigwright' | awk -v wanted="$COMPONENTS" "$functions"'
    /^deb[ \t]/ && /debian/ && match($0, / main( |$)/) {
      more = lacking(substr($0, RSTART))
      if (more != "") out(substr($0, 1, RSTART) more)
    }' >"$work/components.list"
  # shellcheck disable=SC2016 # of awk
  for file in "$from"/sources.list.d/*.sources; do
    [ -f "$file" ] || continue
    case $file in */rigwright-*) continue ;; esac
    cat "$file"; echo
  done | awk -v wanted="$COMPONENTS" "$functions"'
    BEGIN { RS = ""; FS = "\n" }
    /(^|\n)Types:[^\n]*deb( |\n|$)/ && /(^|\n)URIs:[^\n]*debian/ && !/(^|\n)Enabled: *no/ {
      text = more = ""; main = 0
      for (i = 1; i <= NF; i++) {
        if ($i ~ /^#/) continue
        if ($i ~ /^Components:/) { main = ($i ~ / main( |$)/); more = lacking(substr($i, 12)); $i = "Components: " more }
        text = text $i "\n"
      }
      if (main && more != "") out(text)
    }' >"$work/components.sources"
  for kind in list sources; do
    [ ! -s "$work/components.$kind" ] || write "$1/rigwright-components.$kind" 644 <"$work/components.$kind"
  done
}
