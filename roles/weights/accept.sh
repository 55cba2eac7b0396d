# accept FILE: refuse what is no GGUF or not the file that $SHA256 names; leaves its sum in $sum.
accept() {
  [ "$(head -c 4 -- "$1")" = GGUF ] || { rm -f -- "$PART"; fail "$DEST: what arrived is no GGUF file; check the source"; }
  say "checking ${DEST##*/}"
  sum=$(sha256sum <"$1" | cut -d' ' -f1)
  [ -z "$SHA256" ] || [ "$sum" = "$SHA256" ] || {
    rm -f -- "$PART"
    fail "$DEST: sha256 is $sum, expected $SHA256; the file was not installed, correct the source or the sum"
  }
}
stamp() { # stamp [found]: remember what was checked, and what removal may take away
  printf '%s %s %s\n' "$sum" "$(stat -c '%s %Y' -- "$DEST")" "${1:-$ORIGIN}" | write "$STAMP" 644
  mkdir -p "${RECORD%/*}"
  printf '%s\n' "$STAMP" >>"$RECORD"
  [ "${1:-}" = found ] || printf '%s\n' "$DEST" "$PART" >>"$RECORD"
  sort -u -o "$RECORD" "$RECORD"
}
