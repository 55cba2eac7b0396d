# What JSON says, with what every rig has.
# leaves: each leaf of the document on standard input as a line `choices.0.message.content "text"`, as it is written there;
# 1 and nothing where that is no sound JSON, or more than 64 KiB: records and answers have few, and awk would be at it for
# minutes. A key of other characters is shown as ?, so that none can pretend to be a path.
leaves() {
  head -c 65536 | tr -d '\0' | awk '
    function bad() { exit 1 }
    function space() { sub(/^[ \t\r\n]+/, "", text) }
    function eat(sign) {
      space()
      if (substr(text, 1, 1) != sign) return 0
      text = substr(text, 2)
      return 1
    }
    function take() {
      token = substr(text, 1, RLENGTH)
      text = substr(text, RLENGTH + 1)
      return token
    }
    function string() {
      space()
      if (!match(text, /^"([^"\\\001-\037]|\\[^\001-\037])*"/)) bad()
      return take()
    }
    function key() {
      token = string()
      token = substr(token, 2, length(token) - 2)
      return token ~ /^[A-Za-z0-9_-]+$/ ? token : "?"
    }
    function value(path, depth,   name, place) {
      if (depth > 64) bad()
      if (eat("{")) {
        if (eat("}")) return
        do { name = key(); if (!eat(":")) bad(); value(path name ".", depth + 1) } while (eat(","))
        if (!eat("}")) bad()
      } else if (eat("[")) {
        if (eat("]")) return
        place = 0
        do { value(path place++ ".", depth + 1) } while (eat(","))
        if (!eat("]")) bad()
      } else {
        if (substr(text, 1, 1) == "\"") name = string()
        else if (match(text, /^(true|false|null|-?[0-9][0-9.eE+-]*)/)) name = take()
        else bad()
        leaf[n++] = substr(path, 1, length(path) - 1) " " name
      }
    }
    { text = text $0 "\n" }
    END {
      value("", 0)
      space()
      if (text != "") bad()
      for (place = 0; place < n; place++) print leaf[place]
    }'
}
newline='
'
# says PATH …: whether one of these leaves of the document on standard input is text, and not an empty one; PATH# is a number.
says() {
  found=$(leaves) || return 1
  for path; do
    case $path in
      *#) case $newline$found in *"$newline${path%#} "[-0-9]*) return 0 ;; esac ;;
      *) case $newline$found in *"$newline$path \""[!\"]*) return 0 ;; esac ;;
    esac
  done
  return 1
}
# leaf PATH: the text at a leaf of $found.
leaf() { printf '%s\n' "$found" | sed -n "s/^$1 \"\(.*\)\"\$/\1/p" | head -n1 | sed 's/\\\(["\\/]\)/\1/g'; }
# place_of FLAG: where a flag of a record stands in $found.
place_of() { printf '%s\n' "$found" | sed -n "s/^\(flags\.[0-9]*\)\.name \"$1\"\$/\1/p" | head -n1; }
# proof_in FILE: how what a record tells of proves that it serves, as $URL, $KEY, $HEALTH, $ASK, $BODY, $EXPECTED; $HEALTH is
# empty where that cannot be read. Records of 0.1 tell of chat completions alone, by the flags of llama-server.
proof_in() {
  URL='' KEY='' ASK=$CHAT_ASK BODY=$CHAT_BODY EXPECTED=$CHAT_EXPECTED
  found=$(leaves <"$1" 2>/dev/null) || found=
  HEALTH=$(leaf health)
  if [ -z "$HEALTH" ]; then
    port=$(leaf "$(place_of --port).value")
    [ -n "$port" ] || return 0
    host=$(leaf "$(place_of --host).value")
    case $host in '' | 0.0.0.0) host=127.0.0.1 ;; ::) host='[::1]' ;; *:*) host="[$host]" ;; esac
    HEALTH=http://$host:$port/health
  fi
  URL=$(printf %s "$HEALTH" | sed -E 's|^(https?://[^/]*).*|\1|')
  if [ -n "$(place_of --api-key-file)" ] || printf '%s\n' "$found" | grep -qx 'has_key true'; then KEY=/etc/rigwright/${NAME%@*}.key; fi
  case $(leaf answer.expected) in '' | *\"*) return 0 ;; esac
  # shellcheck disable=SC2034 # whoever asks says it by this
  ASK=$(leaf answer.path) BODY=$(leaf answer.body) EXPECTED=$(leaf answer.expected)
}
