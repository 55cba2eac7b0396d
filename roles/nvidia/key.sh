# The key of NVIDIA's repository, taken by its fingerprint alone. $work is a folder of the caller. REPO: the folder of this
# release in NVIDIA's repositories, empty where it is not wanted. KEY: the name of its key there. FINGERPRINT: which key it is.
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
