# in_sandbox SECONDS COMMAND …: a program of a release, run once within $SANDBOX, the walls of the unit that it is for, and
# without a network. It prints what the program prints; on standard error is also how it ended. It may write 1 MiB of each.
in_sandbox() {
  seconds=$1
  shift
  eval "set -- $SANDBOX -- \"\$@\""
  transient --pipe --wait --collect --description="rigwright: dry run of $NAME" -p PrivateNetwork=yes -p LimitFSIZE=1M \
    -p RuntimeMaxSec="$seconds" -p TimeoutStopSec=5 "$@"
}
