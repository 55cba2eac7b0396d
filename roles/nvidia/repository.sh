# Sets up the sources that the plan chose, and reads their lists. What the package manager refuses is taken away again.
lock
mkdir -p "$STATE"
readable
set_up || { take_down; fail "$refusal"; }
say "reading package lists"
refresh
said=$(complaint)
if [ -n "$said" ]; then
  why "$(printf %s "$said" | cut -c1-400)"
  take_down
  fail "NVIDIA's repository $REPO cannot be used; nothing else was changed"
fi
