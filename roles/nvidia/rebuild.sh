# Compiles the modules of the driver that is installed, for the kernels that have none; $HEADERS come first.
lock
mkdir -p "$STATE"
readable
mend
if [ -n "$HEADERS" ]; then
  say "reading package lists"
  refresh
  say "installing $HEADERS"
  # shellcheck disable=SC2086 # names, one word each
  bring $HEADERS
  [ -z "$failure" ] || fail "$failure"
fi
for kernel in $(kernels); do
  ! is_built "$kernel" || continue
  say "compiling the modules for $kernel"
  watched dkms autoinstall -k "$kernel" || :
  is_built "$kernel" || {
    build_errors | while IFS= read -r line; do why "$line"; done
    fail "the modules do not compile for $kernel; what runs goes on running"
  }
done
