# llama.cpp's own dry run for what is about to start: a second, and not a byte of weights is read. What a GPU cannot hold
# is refused here, while what serves now still serves. $FIT are its arguments, $VISIBLE the environment of the GPUs,
# $ROOM the memory of each GPU in MiB, in the engine's order. It reserves logits for a whole ubatch, which the server
# does not: what it says is the most that will be taken, without the 300 MiB of the CUDA context.
mkdir -p "/var/lib/rigwright/services/$NAME"
estimate=$(eval "env $VISIBLE timeout 60 \"$RELEASE/bin/llama-fit-params\" --fit-print on $FIT" 2>/dev/null) || estimate=
printf '%s\n' "$estimate" >"/var/lib/rigwright/services/$NAME/estimate"
short=$(printf '%s\n' "$estimate" | awk -v room="$ROOM" -v context=300 '
  BEGIN { split(room, most, " ") }
  NF == 4 && $1 ~ /[0-9]$/ && $2 $3 $4 ~ /^[0-9]+$/ {
    needs = $2 + $3 + $4 + context
    if (++n in most && needs > most[n]) { print $1 " would need " needs " MiB and has " most[n]; exit }
  }')
[ -z "$short" ] || fail "$NAME: by llama.cpp's own dry run $short; lower context, or leave the placement to the plan"
printf '%s\n' "$estimate" | awk 'NF == 4 && $2 $3 $4 ~ /^[0-9]+$/ { printf "%s%s %d MiB", sep, $1, $2 + $3 + $4; sep = ", " }' | {
  read -r told || :
  [ -z "$told" ] || say "$NAME: llama.cpp's dry run takes $told"
}
