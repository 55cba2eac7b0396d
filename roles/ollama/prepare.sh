# Has the model made before the switch, while what serves still serves: a server of the new release, without a network and
# without a GPU, in the account and the store of the service. One at a time for each service.
prepare_model() { # prepare_model SUM PATH …
  exec 8>>"/run/rigwright.ollama.$NAME.lock"
  chmod 600 "/run/rigwright.ollama.$NAME.lock"
  flock -w 7200 8 || fail "another run makes the model of $NAME and does not end; run again"
  printf %s "$REQUEST_TEXT" | write "$REQUEST" 644
  set -- -- /bin/sh /opt/rigwright/ollama/model.sh prepare "$MODEL" "$REQUEST" "$@"
  eval "set -- $SANDBOX \"\$@\""
  if transient -q --pipe --wait --collect --description="rigwright: the model of $NAME" -p PrivateNetwork=yes -p Type=exec \
    -p StateDirectory="rigwright-$NAME" -p StateDirectoryMode=0700 -p UMask=0077 -p OOMScoreAdjust=500 -p RuntimeMaxSec=36000 \
    -p WorkingDirectory="$RELEASE" --setenv=HOME="/var/lib/rigwright-$NAME" --setenv=OLLAMA_MODELS="/var/lib/rigwright-$NAME/models" \
    --setenv=OLLAMA_HOST=127.0.0.1:11434 --setenv=OLLAMA_NOPRUNE=1 --setenv=OLLAMA_NO_CLOUD=1 --setenv=CUDA_VISIBLE_DEVICES=-1 \
    --setenv=RELEASE="$RELEASE" "$@" 8>&-; then
    exec 8>&-
  else
    fail "$NAME: its model was not made, what runs goes on running"
  fi
}
# Requests that no unit names any more.
find /opt/rigwright/ollama/requests -name '*.json' -mmin +1440 2>/dev/null | while read -r at; do
  grep -qsF -- "$at" /etc/systemd/system/rigwright-*.service /var/lib/rigwright/services/*/*.service || rm -f -- "$at"
done
set --
while read -r sum path; do
  case $sum in '') ;; *) set -- "$@" "$sum" "$path" ;; esac
done <<END
$(printf %s "$UNIT_TEXT" | sed -n 's/^# weights \([0-9a-f]\{64\} \/\)/\1/p')
END
prepare_model "$@"
