# Installs $PACKAGES, and notes in $RECORD what of it this run itself brought.
lock
mkdir -p "$(dirname "$RECORD")"
readable
repair
say "reading package lists"
refresh
say "installing $PACKAGES"
# shellcheck disable=SC2086 # names, one word each
bring $PACKAGES
[ -z "$failure" ] || fail "$failure"
