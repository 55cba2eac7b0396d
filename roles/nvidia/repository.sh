# Sets up the sources that the plan chose, and reads their lists. What apt refuses is taken away again.
lock
mkdir -p "$STATE"
had=
[ -e "/etc/apt/sources.list.d/$SOURCE" ] && had=yes
sources_to /etc/apt/sources.list.d || fail "$refusal"
[ -z "$PREFERENCES" ] || printf %s "$PREFERENCES" | write /etc/apt/preferences.d/rigwright-nvidia 644
[ -n "$PREFERENCES" ] || rm -f /etc/apt/preferences.d/rigwright-nvidia
say "reading package lists"
readable
refresh
place=${REPO#*://}
if [ -n "$REPO" ] && [ -n "$broken" ] && grep -qF -- "${place%%/*}" "$log"; then
  why "$(grep -m1 -A4 -F -- "${place%%/*}" "$log" | grep -E '^(E|W|Err):?|because|signed' | tr -s '\n ' '  ' | cut -c1-400)"
  [ -n "$had" ] || rm -f "/etc/apt/sources.list.d/$SOURCE" /etc/apt/preferences.d/rigwright-nvidia
  fail "NVIDIA's repository $REPO cannot be used; nothing else was changed"
fi
