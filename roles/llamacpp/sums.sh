# Remembers the sums of upstream's archives as they were first told, a line each in $SUMS: its key, its sha256. What was
# installed stays what is installed.
install -d -m 755 "$REFS"
printf '%s\n' "$SUMS" | while read -r key sum; do printf '%s\n' "$sum" | write "$REFS/$key" 644; done
say "$TOLD"
