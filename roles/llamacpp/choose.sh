# Finds which packages of llama.cpp the rig's own sources have, once, and remembers them with their sums in $STAMP: what was
# installed stays what is installed.
lock
readable
offered_now
remember
say "llama.cpp of the distribution: $(awk '{ print $1, $2 }' "$work/offered" | paste -sd, - | sed 's/,/, /g')"
