# Sets up the sources that the plan chose, and reads their lists. What the package manager refuses is taken away again.
lock
mkdir -p "$STATE"
readable
set_up || { take_down; fail "$refusal"; }
say "reading package lists"
refresh
place=${REPO#*://}
if [ -n "$REPO" ] && [ -n "$broken" ] && grep -qF -- "${place%%/*}" "$log"; then
  why "$(grep -m1 -A4 -F -- "${place%%/*}" "$log" | grep -iE '^(E|W|Err):?|because|signed|error' | tr -s '\n ' '  ' | cut -c1-400)"
  take_down
  fail "NVIDIA's repository $REPO cannot be used; nothing else was changed"
fi
