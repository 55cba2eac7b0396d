# llama.cpp's own dry run for what is about to start: a second, and not a byte of weights is read. What a GPU cannot hold
# is refused here, while what serves now still serves. $FIT are its arguments, $VISIBLE the environment of the GPUs,
# $ROOM the memory of each GPU in MiB, in the engine's order, $PLANNED what the plan has for its compute buffer. It reserves
# logits for a whole ubatch, since b11434 beside the mask of the context, which the server does not: of its buffer no more
# counts than the plan has. The 300 MiB of the CUDA context are not in what it says.
# It is a stranger's program with a stranger's file, so it runs as the service would; where it fails, that is said and no more.
state=/var/lib/rigwright/services/$NAME
install -d -m 755 "$state"
estimate=
if [ ! -x "$RELEASE/bin/llama-fit-params" ]; then
  say "$NAME: its release has no llama-fit-params, there is no dry run"
elif ! eval "in_sandbox $LIMIT env $VISIBLE \"\$RELEASE/bin/llama-fit-params\" --fit-print on $FIT" >"$state/estimate" 2>"$state/estimate.log"; then
  result=$(sed -n 's/^ *Finished with result: //p' "$state/estimate.log")
  said=$(grep -vE '^ *(Running as unit|Finished with result|Main processes|Service runtime|CPU time|Memory|IP traffic|IO bytes)' "$state/estimate.log" | tail -n1 | cut -c1-200)
  say "$NAME: llama.cpp's dry run failed (${result:-not started})${said:+: $said}; it goes on without, see $state/estimate.log"
else
  estimate=$(cat "$state/estimate")
fi
printf '%s\n' "$estimate" >"$state/estimate"
short=$(printf '%s\n' "$estimate" | awk -v room="$ROOM" -v planned="$PLANNED" -v context=300 '
  BEGIN { split(room, most, " "); split(planned, buffer, " ") }
  NF == 4 && $1 ~ /[0-9]$/ && $2 $3 $4 ~ /^[0-9]+$/ {
    n++
    needs = $2 + $3 + context + (n in buffer && buffer[n] < $4 ? buffer[n] : $4)
    if (n in most && needs > most[n]) { print $1 " would need " needs " MiB and has " most[n]; exit }
  }')
[ -z "$short" ] || fail "$NAME: by llama.cpp's own dry run $short; lower context, or leave the placement to the plan"
printf '%s\n' "$estimate" | awk 'NF == 4 && $2 $3 $4 ~ /^[0-9]+$/ { printf "%s%s %d MiB", sep, $1, $2 + $3 + $4; sep = ", " }' | {
  read -r told || :
  if [ -n "$told" ]; then say "$NAME: llama.cpp's dry run takes $told"
  elif [ -n "$estimate" ]; then say "$NAME: llama.cpp's dry run said nothing that is known here; see $state/estimate"; fi
}
