# Has a service's model in the store of its Ollama, by the API alone, as /opt/rigwright/ollama/model.sh:
#   load MODEL REQUEST UNIT          in the unit: the model is there, has its name, and is loaded
#   prepare MODEL REQUEST SUM PATH … before a switch, beside what serves: a server of $RELEASE makes it, and ends
#   leave - -                        without a server: what we made goes; 1 where there are models of others
# REQUEST is the body of /api/create, in which @model stands for a name and @1, @2 for the sums of the weights. Units of
# earlier versions call what lies there today: these words keep their meaning.
#
# What is made is called rigwright/MODEL:TAG, the tag a sum over request and weights, and MODEL is a copy of that name: the
# model of a way back stays where it is. Ollama writes a GGUF anew (since 0.30, ollama #17554), so that its sum of one is not
# ours: $record has both, a line "TAG DIGEST MODEL" for each that we made, the one that serves last. Other models are not ours.
set -eu
umask 077
export LC_ALL=C
verb=$1 model=$2 request=$3
shift 3
api=http://$OLLAMA_HOST record=$HOME/rigwright
dir=$(mktemp -d)
server=
trap 'rm -rf -- "$dir"; [ -z "$server" ] || kill "$server" 2>/dev/null || :' EXIT
case $verb in
  load) say() { echo "$*"; } && die() { echo "error: $*" >&2; exit 1; } ;;
  *) say() { echo "::progress $*"; } && die() { echo "::error $*"; exit 1; } ;;
esac
human() { awk -v n="$1" 'BEGIN { g = 1073741824; if (n + 0 >= g) printf "%.1f GiB", n / g; else printf "%.0f MiB", n / 1048576 }'; }
# call SECONDS METHOD PATH OPTION …: the answer's status; its body is in $dir/answer.
call() {
  limit=$1 method=$2 path=$3
  shift 3
  curl -q -sS --globoff --noproxy '*' --max-time "$limit" -X "$method" -H 'Expect:' -o "$dir/answer" -w '%{http_code}' "$@" \
    -- "$api$path" 2>"$dir/said" || :
}
body() { printf %s "$1" >"$dir/body" && echo "@$dir/body"; }
# because STATUS: what was said instead of an answer, in one line.
because() {
  told=$(sed -nE 's/.*"error": *"(([^"\\]|\\.)*)".*/\1/p' "$dir/answer" 2>/dev/null | tail -n1 | tr -d '\000-\037' | cut -c1-300)
  [ -n "$told" ] || told=$(tail -n1 "$dir/said" | cut -c1-300)
  echo "${told:-it answered $1}"
}
wait_up() {
  tries=0
  until [ "$(call 5 GET /api/version)" = 200 ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 240 ] || die "Ollama does not answer at $api after a minute: $(because 000)"
    if [ -n "$server" ] && ! kill -0 "$server" 2>/dev/null; then die "Ollama ended at once: $(tail -n1 "$dir/log" | cut -c1-300)"; fi
    sleep 0.25
  done
}
look() { # which models there are: a line "NAME DIGEST" each in $dir/models
  status=$(call 30 GET /api/tags)
  [ "$status" = 200 ] || die "Ollama does not say which models it has: $(because "$status")"
  tr -d '\n' <"$dir/answer" | sed 's/{/\n/g' | sed -n 's/^"name": *"\([^"]*\)".*"digest": *"\(sha256:\)\{0,1\}\([0-9a-f]\{64\}\)".*/\1 \3/p' >"$dir/models"
}
digest_of() { awk -v name="$1" '$1 == name { print $2; exit }' "$dir/models"; }
recorded() { grep -qsE "^[0-9a-f]{12} $1 " "$record"; } # recorded DIGEST: that of a model which we made
is_made() { made=$(digest_of "$ours") && [ -n "$made" ] && grep -qsxF "$tag $made $model" "$record"; }
note() { # what serves stands last
  { grep -vsF "$tag " "$record" || :; echo "$tag $made $model"; } >"$record.new"
  mv -f -- "$record.new" "$record"
}
# read_request: what is asked for, with the sums that it is for, and the name of that.
read_request() {
  sed 's/@model/@/' "$request" >"$dir/request" || die "$request is not there; deploy again"
  number=0
  while read -r sum path; do
    number=$((number + 1))
    sed -i "s/@$number\"/$sum\"/" "$dir/request"
  done <"$dir/weights"
  if grep -q 'sha256:@' "$dir/request"; then die "it is not known which weights $model is made of; deploy again"; fi
  tag=$(sha256sum <"$dir/request" | cut -c1-12)
  ours=rigwright/$model:$tag
  sed -i "s,\"@\",\"$ours\"," "$dir/request"
}
room() { # what arrives, and what is made of it: one of them goes at the next start
  need=0
  while read -r sum path; do
    [ -r "$path" ] || die "$path cannot be read by $model's account; let others read it"
    need=$((need + 2 * $(stat -Lc %s -- "$path")))
  done <"$dir/weights"
  free=$(df -PB1 -- "$HOME" | awk 'END { print $4 }')
  [ "$free" -ge $((need + 268435456)) ] ||
    die "$model: Ollama's copy of its weights needs $(human $((need + 268435456))) in $HOME while it is made, the disk has $(human "$free"); free some, or mount another disk there"
}
make() {
  room
  while read -r sum path; do
    status=$(call 60 HEAD "/api/blobs/sha256:$sum" -I)
    [ "$status" != 200 ] || continue
    say "$model: Ollama copies ${path##*/}, $(human "$(stat -Lc %s -- "$path")")"
    status=$(call 14400 POST "/api/blobs/sha256:$sum" -T "$path")
    case $status in 20?) ;; *) die "$model: Ollama did not take ${path##*/}: $(because "$status")" ;; esac
  done <"$dir/weights"
  say "$model: Ollama makes the model"
  status=$(call 14400 POST /api/create -H 'Content-Type: application/json' -d "@$dir/request")
  # It goes on line by line, and may fail after the 200.
  if [ "$status" != 200 ] || grep -q '"error"' "$dir/answer" || ! tail -n1 "$dir/answer" | grep -q '"status": *"success"'; then
    die "$model: Ollama did not make the model: $(because "$status")"
  fi
  look
  made=$(digest_of "$ours")
  [ -n "$made" ] || die "$model: Ollama made the model, and does not list it"
}
have_it() {
  read_request
  look
  is_made || make
  note
}
# name_it: nobody else's model of that name is lost.
name_it() {
  there=$(digest_of "$model:latest")
  if [ "$there" = "$made" ]; then return; fi
  [ -z "$there" ] || recorded "$there" ||
    die "$model: somebody else's model of this name is in $HOME; copy it to another name and remove it (ollama cp, ollama rm), or set alias"
  status=$(call 60 POST /api/copy -H 'Content-Type: application/json' -d "$(body "{\"source\":\"$ours\",\"destination\":\"$model\"}")")
  [ "$status" = 200 ] || die "$model: Ollama did not name it: $(because "$status")"
}
drop() { # drop NAME DIGEST: where it still is what we made
  [ -n "$2" ] && [ "$(digest_of "$1")" = "$2" ] || return 0
  status=$(call 60 DELETE /api/delete -H 'Content-Type: application/json' -d "$(body "{\"model\":\"$1\"}")")
  if [ "$status" = 200 ]; then say "$1 goes, nothing is served from it"; else say "$1 could not be removed: $(because "$status")"; fi
}
# forget: of what we made stay what serves and what served before it.
forget() {
  head -n -2 "$record" >"$dir/old"
  while read -r old digest name; do drop "rigwright/$name:$old" "$digest"; done <"$dir/old"
  while read -r old digest name; do
    [ "$name" = "$model" ] || drop "$name:latest" "$digest"
  done <"$record"
  tail -n 2 "$record" >"$record.new" && mv -f -- "$record.new" "$record"
}
preload() {
  seconds=${OLLAMA_LOAD_TIMEOUT:-600s}
  seconds=${seconds%s}
  case $seconds in '' | *[!0-9]*) seconds=600 ;; esac
  status=$(call "$seconds" POST /api/generate -H 'Content-Type: application/json' -d "$(body "{\"model\":\"$model\",\"keep_alive\":-1,\"stream\":false}")")
  if [ "$status" != 200 ] && grep -q 'does not support generate' "$dir/answer"; then
    status=$(call "$seconds" POST /api/embed -H 'Content-Type: application/json' -d "$(body "{\"model\":\"$model\",\"input\":\"hello\",\"keep_alive\":-1}")")
  fi
  [ "$status" = 200 ] || die "$model: Ollama could not load it: $(because "$status")"
}
: >"$dir/weights"
case $verb in
  load)
    sed -n 's/^# weights \([0-9a-f]\{64\} \/\)/\1/p' "/etc/systemd/system/$1.service" >"$dir/weights"
    wait_up
    have_it
    name_it
    preload
    look
    forget
    ;;
  prepare)
    while [ $# -gt 1 ]; do
      printf '%s %s\n' "$1" "$2" >>"$dir/weights"
      shift 2
    done
    read_request
    if grep -qs "^$tag [0-9a-f]\{64\} $model\$" "$record"; then exit 0; fi # that it is still so is seen when it starts
    room
    "$RELEASE/bin/ollama" serve >"$dir/log" 2>&1 &
    server=$!
    wait_up
    have_it
    ;;
  leave)
    manifests=$HOME/models/manifests blobs=$HOME/models/blobs
    while read -r old digest name; do
      for at in "$manifests"/*/rigwright/"$name/$old" "$manifests"/*/library/"$name/latest"; do
        if [ -f "$at" ] && [ "$(sha256sum <"$at" | cut -c1-64)" = "$digest" ]; then rm -f -- "$at"; fi
      done
    done <"$record"
    [ ! -d "$manifests" ] || find "$manifests" -type f -exec cat {} + >"$dir/left"
    [ -s "$dir/left" ] || exit 0
    for at in "$blobs"/sha256-*; do
      [ ! -f "$at" ] || grep -qF "${at##*/sha256-}" "$dir/left" || rm -f -- "$at"
    done
    exit 1
    ;;
  *) die "model.sh: no $verb" ;;
esac
