# A file is there that carries no stamp of ours, or changed since: take it as it is when it is the right one.
PART=/nonexistent
[ "$(head -c 4 -- "$DEST")" = GGUF ] || fail "$DEST exists and is no GGUF file; move it away, it was not touched"
say "checking ${DEST##*/}, found on the rig"
sum=$(sha256sum <"$DEST" | cut -d' ' -f1)
[ -z "$SHA256" ] || [ "$sum" = "$SHA256" ] ||
  fail "$DEST exists with sha256 $sum, expected $SHA256; move it away, it was not touched"
stamp found
