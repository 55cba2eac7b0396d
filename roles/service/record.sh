# The same process under a plan that is worded anew: the record follows, nothing is restarted.
printf %s "$PLAN" | write "$PLAN_FILE" 644
