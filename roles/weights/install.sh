# What was uploaded is checked and named while no upload may write to it.
PART=$DEST.part
exec 8<>"$PART"
flock -w "${PATIENCE:-10}" 8 || fail "another run is uploading ${DEST##*/}; wait for it, then run again"
same "$PART" "/proc/$$/fd/8" || fail "another run has uploaded ${DEST##*/} meanwhile; run again"
accept "$PART"
lock
settle
