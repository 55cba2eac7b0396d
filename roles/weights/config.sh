# config ADDRESS: what curl is told, of an address on the host that was named. A secure address never leads to one that is
# not, and curl takes the token to no other host, port or scheme.
config() {
  case $1 in https:*) then='=https' ;; *) then='=http,https' ;; esac
  [ -z "$TOKEN" ] || printf 'header = "Authorization: Bearer %s"\n' "$(printf %s "$TOKEN" | sed 's/[\\"]/\\&/g')"
  printf 'url = "%s"\n' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"
  printf '%s\n' globoff location 'proto = "=http,https"' "proto-redir = \"$then\"" 'connect-timeout = 30' fail silent show-error
}
