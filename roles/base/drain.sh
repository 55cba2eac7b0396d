# drain UNIT [MOST]: waits until a running instance of ours has no request under way, as long as its line in $DRAINS says, and
# no longer than MOST seconds. The line: `UNIT SECONDS PORT HEALTH WORK BUSY`. BUSY is what the answer at WORK holds while a
# request is under way; an engine that tells nothing has - there, and who is connected counts. 1 where requests are still
# under way then.
#
# New requests are served meanwhile: in front of an engine is nobody yet who could keep them. So it ends with the first
# moment at which nobody is served.
drain() (
  tells_of "$1"
  most=$limit
  if [ "${2:-3600}" -lt "$most" ]; then most=$2; fi
  if [ "$most" -eq 0 ] || ! systemctl is-active -q "$1"; then return 0; fi
  began=$(now) told='' idle=0
  while :; do
    waited=$(($(now) - began))
    left=$((most - waited))
    if [ "$left" -lt 1 ]; then left=1; elif [ "$left" -gt 5 ]; then left=5; fi
    if at_work "$left" "$key" "$port" "$health" "$tells" "$busy"; then idle=0; else idle=$((idle + 1)); fi
    # What was said last is on its way to the client.
    [ "$idle" -lt 2 ] || break
    if [ "$idle" -eq 0 ] && [ "$waited" -ge "$most" ]; then
      say "$at is still at work after $waited s"
      return 1
    fi
    if [ "$idle" -eq 0 ] && [ "$waited" -ge "${told:-0}" ]; then
      if [ -z "$told" ]; then say "$at is at work, waiting for its requests to end, at most $most s"
      else say "$at is at work, $waited s"; fi
      told=$((waited + 10))
    fi
    sleep 0.1
  done
  [ -z "$told" ] || say "$at has no request under way, after $waited s"
)
# tells_of UNIT: its line in $DRAINS, as variables.
tells_of() {
  read -r _ limit port health tells busy <<END
$(printf '%s\n' "$DRAINS" | grep "^$1 " | head -n1)
END
  limit=${limit:-0} at=${1#rigwright-} at=${at%.service} from=''
  # The keys that it started with: those of the file may be newer.
  key=/run/credentials/$1/api-key
  [ -r "$key" ] || key=/etc/rigwright/${at%@*}.key
}
# at_work SECONDS KEY PORT HEALTH WORK BUSY: whether requests are under way, asked for at most so long; where others are kept
# back, from $from, and silence is no answer.
at_work() (
  code=404 as=''
  case $from in '' | *:*) ;; *) as="--interface $from" ;; esac
  if [ "$5" != - ]; then
    # shellcheck disable=SC2086 # two words, or none
    said=$({ [ ! -r "$2" ] || printf 'header = "Authorization: Bearer %s"\n' "$(head -n1 "$2")"; } |
      curl -q -s --noproxy '*' --config - -m "$1" $as -w '\n%{http_code}\n' -- "$5" 2>/dev/null | head -c 4194304 |
      grep -Eo -e "$6" -e '^[0-9]{3}$')
    code=$(printf '%s\n' "$said" | tail -n1)
  fi
  case $code in
    200) [ "$said" != 200 ] ;;
    # It loads, and serves nobody yet.
    503) return 1 ;;
    # Its loop is busy with a long prompt, or stuck, while its health answers; or nobody listens.
    000) [ -n "$from" ] || [ "$(curl -q -s --noproxy '*' -o /dev/null -m "$1" -w '%{http_code}' -- "$4")" != 000 ] ;;
    *) [ -n "$(ss -Htn state established "sport = :$3" 2>/dev/null)" ] ;;
  esac
)
