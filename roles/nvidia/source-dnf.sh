# NVIDIA's repository as a file of dnf, behind key.sh. STREAM: what is enabled of its module, where the release has modules.
REPOSITORY=/etc/yum.repos.d/rigwright-nvidia.repo
TRUSTED=/etc/pki/rpm-gpg/rigwright-nvidia
# As NVIDIA calls it, and nobody else.
place=${REPO%/*}
ID=rigwright-cuda-${place##*/}-${REPO##*/}
set_up() {
  aside "$REPOSITORY" "$TRUSTED"
  [ -z "$REPO" ] || {
    trusted_key "$work/key.asc" || return 1
    mkdir -p "${TRUSTED%/*}"
    refusal="$REPOSITORY cannot be written"
    { printf '# Written by rigwright: the key %s.\n' "$FINGERPRINT"; cat "$work/key.asc"; } | write "$TRUSTED" 644 || return 1
    {
      printf '# Written by rigwright: %s by the key %s.\n' "$REPO" "$FINGERPRINT"
      printf '[%s]\nname=NVIDIA driver and CUDA\nbaseurl=%s\nenabled=1\ngpgcheck=1\n' "$ID" "$REPO"
      # On EL 10 its packages are filtered out by a module that is not there.
      printf 'gpgkey=file://%s\nmodule_hotfixes=%s\n' "$TRUSTED" "$([ -n "$STREAM" ] && echo 0 || echo 1)"
    } | write "$REPOSITORY" 644 || return 1
  }
  # dkms is in EPEL, and wants what is in CRB.
  [ -z "$EPEL" ] || rpm -q epel-release >/dev/null 2>&1 || [ -n "$(dnf -q repoquery dkms 2>/dev/null)" ] || {
    refresh
    bring epel-release
    [ -z "$failure" ] || { refusal=$failure; return 1; }
  }
  [ -z "$STREAM" ] || {
    dnf -q -y module reset "${STREAM%%:*}" >"$log" 2>&1 || :
    watched dnf -q -y module enable "$STREAM" || { refusal="dnf module enable $STREAM failed: $(reason)"; return 1; }
    printf '%s\n' "${STREAM%%:*}" | write "$STATE/stream" 644
  }
}
take_down() { put_back "$REPOSITORY" "$TRUSTED"; }
# complaint: why NVIDIA's repository cannot be used, a line of dnf's; nothing where it can.
complaint() { [ -z "$REPO" ] || [ -z "$broken" ] || grep -F -e "'$ID'" -e "$REPO" "$log" | tail -n 1; }
