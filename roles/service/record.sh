# The same process under a plan that is worded anew, or whose unit was disabled: nothing is restarted.
lock
own "$NAME"
printf %s "$PLAN" | write "$PLAN_FILE" 644
set_watch
systemctl is-enabled -q "$UNIT" 2>/dev/null || systemctl enable -q "$UNIT"
