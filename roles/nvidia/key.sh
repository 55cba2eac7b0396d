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
# key beside it: whoever signs with that one would be believed too. So besides the key there are its names, its subkeys and
# signatures, and no packet in which readers of some kind find a further key: a secret one, or compressed ones.
fingerprint() {
  packets "$1" >"$work/packets"
  awk '$1 !~ /^(2|6|13|14|17)$/ || ($1 == 6) != (NR == 1) { wrong = 1 } END { exit wrong || !NR }' "$work/packets" || return 1
  # shellcheck disable=SC2034 # where the packet begins
  read -r tag at head size <"$work/packets"
  [ "$(od -An -tu1 -j "$head" -N 1 -- "$1" | tr -d ' ')" = 4 ] && [ "$size" -lt 65536 ] || return 1
  {
    # shellcheck disable=SC2059 # octal numbers of our own
    printf "\\231\\$(printf %03o $((size / 256)))\\$(printf %03o $((size % 256)))"
    tail -c "+$((head + 1))" -- "$1" | head -c "$size"
  } | sha1sum | cut -d' ' -f1 | tr a-f A-F
}
# trusted_key FILE: NVIDIA's key as text, once it is the one that was asked for; $refusal says why it is not. The text is
# made anew from what was looked at: in the one that came, apt and rpm might read more than was read here.
trusted_key() {
  refusal=
  get "$REPO/$KEY" "$work/key" || { refusal="$REPO/$KEY cannot be fetched: $(grep -m1 -E '^E:|curl' "$work/got" || tail -n1 "$work/got")"; return 1; }
  head -c 65536 -- "$work/key" | tr -d '\r' | awk '
    over { next }
    /^-----BEGIN PGP PUBLIC KEY BLOCK-----/ { block = 1; next }
    block && /^-----/ { over = 1; next }
    body { print }
    block && /^[ \t]*$/ { body = 1 }' >"$work/key.body"
  grep -v '^=' "$work/key.body" | base64 -d >"$work/key.bin" 2>/dev/null || : >"$work/key.bin"
  found=$(fingerprint "$work/key.bin") || { refusal="$REPO/$KEY is not one OpenPGP key alone; nothing was changed"; return 1; }
  [ "$found" = "$FINGERPRINT" ] || { refusal="$REPO/$KEY is the key $found, and $FINGERPRINT is the one to be trusted; nothing was changed"; return 1; }
  {
    printf -- '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n'
    base64 -w 64 -- "$work/key.bin"
    grep -m1 -x '=[A-Za-z0-9+/]\{4\}' "$work/key.body" || :
    printf -- '-----END PGP PUBLIC KEY BLOCK-----\n'
  } >"$1"
}
# aside FILE …: remembers them as they are; put_back FILE … makes them so again.
aside() {
  for file; do
    rm -f -- "$work/was.${file##*/}"
    [ ! -e "$file" ] || cp -p -- "$file" "$work/was.${file##*/}"
  done
}
put_back() {
  for file; do
    if [ -e "$work/was.${file##*/}" ]; then write "$file" 644 <"$work/was.${file##*/}"; else rm -f -- "$file"; fi
  done
}
