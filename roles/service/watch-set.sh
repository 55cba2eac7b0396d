# set_watch: has the instance watched as $WATCH_SERVICE and $WATCH_TIMER say, by $WATCH_PROGRAM; without a text nobody watches.
set_watch() {
  at=/etc/systemd/system/rigwright.watch.$NAME anew=
  if [ -z "$WATCH_TIMER" ]; then
    remove_watch "$NAME"
    return 0
  fi
  printf %s "$WATCH_PROGRAM" | write /opt/rigwright/watch.sh 644
  # Containers lose their GPU when systemd reads its units anew: only where it may know another text of these.
  for kind in service timer; do
    case $kind in service) text=$WATCH_SERVICE ;; *) text=$WATCH_TIMER ;; esac
    [ ! -e "$at.$kind" ] || printf %s "$text" | cmp -s - "$at.$kind" || anew=yes
    printf %s "$text" | write "$at.$kind" 644
  done
  [ -z "$anew" ] || systemctl daemon-reload
  wanted_by timers.target "${at##*/}.timer"
  systemctl restart "${at##*/}.timer"
}
