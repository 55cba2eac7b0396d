# Finds the commit of $REF once and remembers it: what was built stays what is built.
# The server is a stranger: git asks it as the builder, shut in like a build.
out=$(shut_in --uid="$BUILDER" --gid="$BUILDER" --pipe --wait --collect --description="rigwright finds a commit" -p RuntimeMaxSec=60 --setenv=GIT_TERMINAL_PROMPT=0 \
  -- git ls-remote -- "$GIT" "refs/tags/$REF^{}" "refs/tags/$REF" "refs/heads/$REF" 2>&1) ||
  fail "$GIT cannot be read: $(echo "$out" | grep -m1 -E 'fatal|error' || echo "${out:-no answer within 60 s}" | tail -n1); check rig.llamacpp.git"
commit=$(echo "$out" | awk '/\^\{\}$/ { print $1; exit }')
commit=${commit:-$(echo "$out" | awk '$2 ~ /^refs\/tags\// { print $1; exit }')}
if [ -z "$commit" ]; then
  head=$(echo "$out" | awk '$2 ~ /^refs\/heads\// { print $1; exit }')
  [ -z "$head" ] || fail "rig.llamacpp.ref: $REF is a branch, and branches move; name a tag or a commit (today it is $head)"
  fail "rig.llamacpp.ref: $GIT has no tag $REF; name a tag or a full commit"
fi
install -d -m 755 "${STAMP%/*}"
printf '%s\n' "$commit" | write "$STAMP" 644
say "$REF is commit $commit"
