# Downloads the address on standard input to $DEST in a unit of its own, so that a dropped connection costs nothing: a second
# run picks it up. The address may hold a secret: it stands in no argument and no message, and no other account sees it. The
# same holds of the token of a hub that follows it, where the hub gives the file to nobody without one.
IFS= read -r URL || fail "$DEST: no address arrived"
IFS= read -r TOKEN || TOKEN=
SHOWN=${URL%%[?#]*}
PART=$DEST.part
# Of which content the part is: its sum where that is known, else the address and what its server calls this version of it.
OF=$PART.of
UNIT=rigwright-download-$(printf %s "$DEST" | sha256sum | cut -c1-12)
began=$(date +%s)
dir=$(mktemp -d /run/rigwright-download.XXXXXX)
made=
[ -d "${DEST%/*}" ] || made=${DEST%/*}
# A folder of a repository that gave nothing does not stay.
trap 'rm -rf -- "$dir"; [ -e "$PART" ] || rm -f -- "$OF"; [ -z "$made" ] || rmdir -- "$made" 2>/dev/null && case ${made%/*} in *--*) rmdir -- "${made%/*}" 2>/dev/null ;; esac || :' EXIT
install -d -m 755 -- "${DEST%/*}"

# ask ADDRESS [OPTION...]: prints the status of its last answer and where that leads; the headers are in $dir/head.
ask() {
  config "$1" >"$dir/ask"
  shift
  curl --disable --config "$dir/ask" -o /dev/null -D "$dir/head" -w '%{http_code} %{redirect_url}' "$@" 2>"$dir/said"
}
# Some servers refuse to say what they would send, those of signed addresses among them: then the first byte is asked for.
# One that sends all instead is cut off, and has answered.
look() {
  if answer=$(ask "$@" --head --max-time 60 --retry 3); then return; fi
  answer=$(ask "$@" --range 0-0 --max-filesize 4096 --max-time 20) && status=0 || status=$?
  case $status.$answer in 0.* | 63.[23]* | 28.[23]*) ;; *)
    fail "$SHOWN cannot be downloaded: $(tail -n1 "$dir/said"); check the address and the rig's network" ;;
  esac
}
# header NAME: its value in the last answer; those of a proxy and of redirects that were followed stand before it.
header() {
  tr -d '\r' <"$dir/head" | awk -v name="$1" '
    /^HTTP\// { value = "" }
    { colon = index($0, ":") }
    colon && tolower(substr($0, 1, colon - 1)) == name { value = substr($0, colon + 1); gsub(/^[ \t]+|[ \t]+$/, "", value) }
    END { print value }'
}
# number TEXT: prints it where it is a size in bytes. bash would run what stands in one that is none.
number() { case $1 in '' | 0* | *[!0-9]* | ????????????????*) ;; *) echo "$1" ;; esac; }
length() {
  range=$(header content-range)
  range=$(number "${range##*/}")
  echo "${range:-$(number "$(header content-length)")}"
}

# What the address's own host says of the file counts, its first word of it. Where it sends to another host, that one's word
# does not. Hugging Face names the size and the sha256 of a large file in headers of its own.
at=$URL host=${URL#*://} hops=0 size='' linked=''
host=${URL%%://*}://${host%%[/?#]*}
while :; do
  look "$at" --no-location
  size=${size:-$(number "$(header x-linked-size)")}
  linked=${linked:-$(header x-linked-etag | tr -d '"')}
  case ${answer#* } in "$host"/*) at=${answer#* } hops=$((hops + 1)) ;; *) break ;; esac
  [ "$hops" -lt 20 ] || fail "$SHOWN cannot be downloaded: it leads in circles; check the address"
done
linked=${linked#W/}
case ${#linked}$linked in 64*[!0-9a-f]*) ;; 64*) SHA256=${SHA256:-$linked} ;; esac
case $answer in
  2*) size=${size:-$(length)} ;;
  *) look "$at" ;;
esac
# To look at the disk before, and to tell how far it is; what must have arrived says $size alone.
likely=${size:-$(length)}
if [ -n "$MOST" ] && [ -n "$likely" ] && [ "$likely" -gt "$MOST" ]; then
  fail "$SHOWN announces $(human "$likely"), and its header tells of a model of at most $(human "$MOST"); nothing was downloaded, check the address"
fi
version=$(header etag)
case $version in *[!!-~]*) version= ;; '"'*'"') ;; *) version= ;; esac
[ "${#version}" -le 200 ] || version=
of=${SHA256:-$ORIGIN ${version:-unknown}}

have() { stat -c %s -- "$PART" 2>/dev/null || echo 0; }
progress() {
  if [ -n "$likely" ]; then echo "${DEST##*/}: $(($(have) * 100 / likely / 5 * 5)) % of $(human "$likely")"
  else echo "${DEST##*/}: $(human "$(have)")"; fi
}
# Also while it ends: what is left of it may still write.
is_running() { case $(systemctl show -P ActiveState -- "$UNIT") in inactive | failed) false ;; *) true ;; esac; }
# Another run, such as that of a dropped connection, waits for the same download, and may have been quicker.
is_there() {
  [ ! -e "$PART" ] || return 1
  [ -z "$SHA256" ] || [ ! -e "$(kept_at "$DEST" "$SHA256")" ] || return 0
  read -r known_sum known_size known_time known_origin 2>/dev/null <"$STAMP" &&
    [ "$known_size $known_time" = "$(stat -c '%s %Y' -- "$DEST" 2>/dev/null)" ] &&
    [ "${SHA256:-$ORIGIN}" = "$([ -n "$SHA256" ] && echo "$known_sum" || echo "$known_origin")" ]
}
# What was begun is continued when it is of the same content, and no other account had it in hand.
keep_or_drop() {
  [ -e "$PART" ] || [ -L "$PART" ] || return 0
  if [ "$(cat -- "$OF" 2>/dev/null)" = "$of" ] && [ "${of% unknown}" = "$of" ] &&
    case $(stat -c '%u %h %F' -- "$PART") in "$(id -u) 1 regular file" | "$(id -u) 1 regular empty file") true ;; *) false ;; esac &&
    { [ -z "$size" ] || [ "$(have)" -le "$size" ]; }; then
    return 0
  fi
  rm -f -- "$PART"
}
start() {
  free=$(free_bytes "$DEST")
  need=$((${likely:-1} - $(have) + RESERVE))
  [ "$free" -ge "$need" ] || fail "$DEST needs $(human "$need") ($(human "$RESERVE") of it to stay free), the disk has $(human "$free"); free some${ELSEWHERE-, or set rig.weights.directory}"
  most=$((free + $(have) - RESERVE))
  if [ -n "$MOST" ] && [ "$MOST" -lt "$most" ]; then most=$MOST; fi
  systemctl reset-failed "$UNIT" 2>/dev/null || :
  record "$PART" "$OF"
  (umask 077; : >>"$PART")
  printf '%s\n' "$of" | write "$OF" 600
  { printf 'config() {\ncat <<"END"\n'; config "$URL"; printf 'END\n}\n%s\n' "$FETCH"; } >"$dir/run"
  near=
  [ -z "$SHA256" ] || for before in ${NEAR-}; do near="$near${near:+ }http://$before/$SHA256"; done
  # Both files are opened by systemd: the account that reads from the network is one of this unit alone, and can open neither.
  said=$(shut_in --unit="$UNIT" --description="Download of ${DEST##*/}" -p DynamicUser=yes \
    -p StandardInput="file:$dir/run" -p StandardOutput="append:$PART" -p StandardError=journal \
    -p KillSignal=SIGKILL -p LimitFSIZE="${size:-$most}" --setenv=NEAR="$near" --setenv=SIZE="$size" \
    --setenv=IF_RANGE="$([ -n "$SHA256" ] || echo "$version")" -- sh 2>&1) || {
    [ -z "$refused" ] || fail "systemd could not start the download: ${said:-it did not say why}; see journalctl -u $UNIT on the rig"
    refused=now
    return 0
  }
  rm -f -- "$dir/run" "$dir/ask"
  offer "$PART" "$size" "$UNIT"
}
# What came from where, for each source a line.
tell() {
  [ -z "${NEAR-}" ] || journal -u "$UNIT" --since="@$began" |
    awk '$1 == "came:" { sub("^http://", "", $5); sub("(:[0-9]+)?/.*", "", $5); bytes[$5] += $2 } END { for (at in bytes) print bytes[at], at }' |
    while read -r bytes at; do
      case $at in its-address) at=${SHOWN#*://} at=${at%%/*} ;; esac
      say "${DEST##*/}: $bytes bytes came from $at"
    done
}

done='' again='' refused=''
while :; do
  lock
  if is_there; then
    [ -z "$SHA256" ] || claim "$SHA256"
    exit 0
  fi
  if is_running && [ "$(cat -- "$OF" 2>/dev/null)" != "$of" ]; then
    say "ending the download of another version of ${DEST##*/}"
    systemctl stop "$UNIT"
  fi
  if is_running; then
    say "attaching to the download that is running"
  else
    [ -n "$done" ] || keep_or_drop
    if [ -n "$done" ] || [ "$(have)" = "${size:-unknown}" ]; then
      [ -z "$size" ] || [ "$(have)" = "$size" ] || fail "$DEST: $(have) of $size bytes arrived; run again, it continues there"
      if accept "$PART" "${NEAR-}"; then break; fi
      say "what other rigs handed on is another file; downloading ${DEST##*/} from its address"
      NEAR='' done=''
    fi
    start
    # Seen once, on a busy machine, and not explained: systemd is asked a second time, whatever became of the first.
    [ "$refused" != now ] || { refused=before; unlock; sleep 1; continue; }
  fi
  unlock
  follow "$UNIT"
  result=$(systemctl show -P Result -- "$UNIT")
  [ "$result" != success ] || { tell; done=yes; continue; }
  said=$(journal "_SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID -- "$UNIT")" -n 20 | grep curl: | tail -n1)
  systemctl reset-failed "$UNIT" 2>/dev/null || :
  case $said in
    *"(33)"* | *"error: 416"*) # the server cannot continue, or has another file by now
      rm -f -- "$PART"
      [ -n "$again" ] || { again=yes; continue; }
      ;;
  esac
  fail "downloading $SHOWN failed: ${said:-its unit ended by $result}; run again, it continues there"
done
settle
