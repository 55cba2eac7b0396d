# Remembers what was asked once of upstream's release, a line each in $SUMS: a key, the sha256 of an archive or the name of the newest
# release. What was installed stays what is installed.
install -d -m 755 "$REFS"
printf '%s\n' "$SUMS" | while read -r key sum; do printf '%s\n' "$sum" | write "$REFS/$key" 644; done
say "$TOLD"
