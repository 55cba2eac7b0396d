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
  # What is found is the owner's, also where one of ours was: removal must not take it.
  {
    grep -vxF -e "$DEST" -- "$RECORD" 2>/dev/null || :
    printf '%s\n' "$STAMP"
    [ "${1:-}" = found ] || printf '%s\n' "$DEST" "$PART"
  } | sort -u | write "$RECORD" 644
}
record() { # record FILE ...: removal may take them away
  mkdir -p "${RECORD%/*}"
  { cat "$RECORD" 2>/dev/null || :; printf '%s\n' "$@"; } | sort -u | write "$RECORD" 644
}
