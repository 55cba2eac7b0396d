# A file is there that carries no stamp of ours, or changed since. Where it still holds what we brought, it stays ours:
# touched, restored, or a run was cut before it could say so. Else it is taken as it is when it is the right one.
PART=/nonexistent
[ -f "$DEST" ] || fail "$DEST exists and is no file; move it away, it was not touched"
is_kind "$DEST" || fail "$DEST exists and is no GGUF file; move it away, it was not touched"
say "checking ${DEST##*/}, found on the rig"
sum_of "$DEST"
lock
was="" origin=""
{ read -r was _ _ origin <"$STAMP"; } 2>/dev/null || :
if [ "$sum" = "$was" ] && [ ! -L "$DEST" ] && [ -n "$origin" ] && [ "$origin" != found ]; then
  stamp "$DEST" "$origin" "$STAMP"
  exit 0
fi
[ -z "$SHA256" ] || [ "$sum" = "$SHA256" ] ||
  fail "$DEST exists with sha256 $sum, expected $SHA256; move it away, it was not touched"
# The service gets an account like this one of systemd, which owns no file: what it cannot read, the service cannot.
setpriv --reuid=65519 --regid=65519 --clear-groups head -c 4 -- "$DEST" 9>&- </dev/null >/dev/null 2>&1 || [ -n "${HIDDEN:-}" ] ||
  fail "$DEST cannot be read by the service's account; chmod o+r it, and o+x the directories that lead to it"
record "$STAMP"
# It is the owner's: removal leaves it.
grep -vxF -- "$DEST" "$RECORD" | write "$RECORD" 644
stamp "$DEST" found "$STAMP"
