"""Other people's code on a rig: what a build, a download and a dry run may do, and that root runs nothing of theirs."""

from __future__ import annotations

import base64
import re
import shlex
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from rigwright.resolve.unit import sandbox
from rigwright.resources import role_text, script

pytestmark = pytest.mark.lab

SCORE = "systemd-analyze security --no-pager {} | sed -n 's/.*exposure level for .*: \\([0-9.]*\\) .*/\\1/p'"
FIT = "$(readlink -f /opt/rigwright/services/demo/current)/bin/llama-fit-params"
# Says who it is and what it can do; its answer is what the engine's own would be.
CURIOUS = r"""#!/bin/sh
id -u
grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status
for at in /etc /usr/local/bin /opt/rigwright /var/lib/rigwright /var/lib/rigwright/ccache; do
  touch "$at/planted" 2>/dev/null && echo "wrote to $at"
done
cat /etc/shadow /etc/rigwright/*.key 2>/dev/null && echo "read secrets"
[ -z "$(ls -A /root; ls -A /home)" ] || echo "saw a home"
echo "links: $(sed -n 's/^ *\([^:]*\):.*/\1/p' /proc/net/dev | sort | tr '\n' ' ')"
echo "Host 4 4 7"
"""


@pytest.fixture
def other_program(workshop, serving):
    """Puts another program in the place of llama-fit-params; the real one comes back."""
    workshop.on(serving, f"cp {FIT} /root/fit")

    def put(text):
        workshop.lab.exec(serving, ["sh", "-c", f"cat >{FIT}.new; chmod 755 {FIT}.new; mv {FIT}.new {FIT}"], input=text)

    yield put
    workshop.on(serving, f"cp /root/fit {FIT}.new; mv {FIT}.new {FIT}")


def test_dry_run_is_as_shut_in_as_its_service_and_has_no_network(workshop, serving, other_program):
    """The engine's program, which root starts on a stranger's file, is nobody and can change nothing."""
    other_program(CURIOUS)
    outcome = workshop.deploy(workshop.spec(context=1024), serving)
    assert outcome.code == 0, outcome.output
    assert "demo: llama.cpp's dry run takes Host 15 MiB" in outcome.lines
    said = workshop.on(serving, "cat /var/lib/rigwright/services/demo/estimate").splitlines()
    user, *rest = said
    assert 61184 <= int(user) <= 65519  # those of DynamicUser=
    found = dict(line.split(":", 1) for line in rest if ":" in line)
    assert {key: value.strip() for key, value in found.items()} == {
        "CapEff": "0000000000000000",
        "CapBnd": "0000000000000000",
        "NoNewPrivs": "1",
        "Seccomp": "2",
        "links": "lo",
    }
    assert [line for line in rest if ":" not in line] == ["Host 4 4 7"]


def dry_run(workshop, rig, walls, limit):
    """The script of the dry run on the rig, within the walls of the unit that serves; what it says."""
    text = script(
        "llamacpp",
        "estimate.sh",
        before=role_text("service", "sandbox.sh"),
        RELEASE=workshop.on(rig, "readlink -f /opt/rigwright/services/demo/current"),
        NAME="demo",
        SANDBOX=walls,
        FIT="--model /var/lib/rigwright/weights/tiny.gguf",
        VISIBLE="",
        LIMIT=limit,
        ROOM="",
        PLANNED="",
        EXPLAINED="",
        MOST="",
        BUFFERS_OF="",
        MOST_LINES=32,
        LOCKED="",
        FORMULA="",
        ON_GPUS="",
    )
    return workshop.on(rig, text)


WALLS = "-p DynamicUser=yes -p ProtectSystem=strict -p NoNewPrivileges=yes -p PrivateDevices=yes"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("#!/bin/sh\necho it is no model >&2; exit 3\n", "failed (exit-code): it is no model; it goes on without"),
        ("#!/bin/sh\nkill -SEGV $$\n", r"failed \((core-dump|signal)\); it goes on without"),
        ("#!/bin/sh\nsleep 100\n", "failed (timeout); it goes on without"),
        ("#!/bin/sh\nhead -c 9000000 /dev/zero\n", "dry run failed ("),
    ],
    ids=["error", "crash", "hang", "flood"],
)
def test_dry_run_that_ends_badly_is_said(workshop, serving, other_program, program, said):
    """It stops nothing, and it does not look like one that went well."""
    other_program(program)
    began = time.monotonic()
    output = dry_run(workshop, serving, WALLS, 2)
    assert re.search(said if "(core" in said else re.escape(said), output), output
    assert time.monotonic() - began < 15
    assert workshop.on(serving, "cat /var/lib/rigwright/services/demo/estimate") == ""
    assert int(workshop.on(serving, "stat -c %s /var/lib/rigwright/services/demo/estimate.log")) < 4096


@pytest.mark.parametrize("name", ["cpu-loopback", "gpu-open-with-key"])
def test_walls_of_every_unit_are_understood(workshop, serving, name):
    """What a unit file may say is not all that systemd-run takes."""
    unit = (Path(__file__).parents[1] / "golden" / f"{name}.service").read_text()
    walls = shlex.join(word for line in sandbox(unit) for word in ("-p", line))
    text = "\n".join([role_text("base", "prelude.sh"), "NAME=x", f"SANDBOX={shlex.quote(walls)}"])
    text += (
        "\n" + role_text("service", "sandbox.sh") + "in_sandbox 9 printf '%s|' 'a b' '${HOME}' '$HOME' '%n' '' '\\x'"
    )
    assert workshop.on(serving, text) == "a b|${HOME}|$HOME|%n||\\x|"


def test_deploy_goes_on_without_a_dry_run(workshop, serving, other_program):
    """A crash of the estimate is no reason not to serve."""
    other_program("#!/bin/sh\nkill -SEGV $$\n")
    outcome = workshop.deploy(workshop.spec(), serving)
    assert (outcome.code, outcome.changed) == (0, {"Serve demo"}), outcome.output
    assert "demo: llama.cpp's dry run failed" in outcome.output


def test_dry_run_scores_well(workshop, serving, other_program):
    """As a running unit, by systemd's own judgement."""
    other_program("#!/bin/sh\nsleep 6\n")
    process = workshop.start(workshop.spec(context=1024), serving)
    unit = wait_for(
        workshop, serving, "systemctl list-units --plain --no-legend | grep 'dry run of demo' | cut -d' ' -f1"
    )
    score = float(workshop.on(serving, SCORE.format(unit)))
    workshop.on(serving, f"systemctl stop {unit}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert score <= 2.5
    assert workshop.deploy(workshop.spec(), serving).code == 0


def wait_for(workshop, rig, command):
    """What a command says as soon as it says something."""
    for _ in range(600):
        if found := workshop.on(rig, command, check=False):
            return found
        time.sleep(0.1)
    raise AssertionError(f"nothing came of {command}")


SECRET = "geheim-$x\"'`\\y"
BUILD = {"archive": "pinned", "cmake_options": {"RIGWRIGHT_TEST": "sandbox"}}


@pytest.fixture(scope="module")
def building(workshop, serving):
    """What was seen of a build while it ran, on a rig whose root has a strict umask and a proxy, and what it left."""
    proxy = f"http://ada:{SECRET}@proxy.invalid:3128"
    login = {"_env": {"https_proxy": proxy, "no_proxy": "localhost"}}
    build = "/var/lib/rigwright/build"
    workshop.on(
        serving,
        f"sed -i '1i umask 077' /root/.bashrc; mkdir -p {build}/old/tree {build}/fresh/tree;"
        f" touch {build}/old/tree/done {build}/fresh/tree/done {build}/old.tar.gz;"
        f" touch -d '2 hours ago' {build}/old/tree/done {build}/old.tar.gz;"
        " mkdir -p /opt/rigwright/llamacpp/releases/.abc.gone/bin",
    )
    process = workshop.start(workshop.spec(llamacpp=BUILD), serving, login=login)
    unit = wait_for(workshop, serving, "systemctl list-units --plain --no-legend 'rigwright-build-*' | cut -d' ' -f1")
    wait_for(workshop, serving, "cat /var/lib/rigwright/build/*/log 2>/dev/null | grep '^\\[[1-9]'")
    pid = workshop.on(serving, f"systemctl show -P MainPID {unit}")
    seen = {
        "score": float(workshop.on(serving, SCORE.format(unit))),
        "environment": workshop.on(serving, f"tr '\\0' '\\n' </proc/{pid}/environ"),
        "shown": workshop.on(serving, f"systemctl show {unit}; systemctl cat {unit}"),
        "status": workshop.on(serving, f"grep -E '^(Uid|CapBnd|NoNewPrivs|Seccomp):' /proc/{pid}/status"),
        "run": workshop.on(serving, "ls /run/rigwright-proxies* 2>/dev/null", check=False),
        "writable": writable(workshop, serving, "rigwright"),
    }
    seen["output"], _ = process.communicate(timeout=900)
    workshop.on(serving, "sed -i '1{/umask 077/d}' /root/.bashrc")
    assert process.returncode == 0, seen["output"]
    yield seen
    workshop.on(serving, f"rm -rf {build}/fresh")


def writable(workshop, rig, user):
    """All files and directories of the rig that an account may write: the kernel is asked for each."""
    known = f"$(getent passwd {user} | cut -d: -f3)" if not user.isdecimal() else user
    # Where anybody may make files, and where the rigs of a lab share their compilers' results.
    public = "/proc /sys /dev /tmp /var/tmp /run/lock /var/cache/rigwright-lab"
    find = f"find / \\( -path {' -o -path '.join(public.split())} \\) -prune"
    find += " -o ! -type l ! -type s -writable -print 2>/dev/null"
    drop = f"setpriv --reuid {known} --regid {known} --clear-groups --inh-caps=-all --bounding-set=-all"
    return set(workshop.on(rig, f"cd /; {drop} {find}", check=False).splitlines())


def test_build_is_shut_in(workshop, serving, building):
    """By systemd's own judgement, and as its process says."""
    assert building["score"] <= 2.5
    uid = workshop.on(serving, "id -u rigwright")
    status = dict(re.findall(r"^(\w+):\s+(\S+)", building["status"], re.MULTILINE))
    assert status == {"Uid": uid, "CapBnd": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}
    mine = {path for path in building["writable"] if not re.match("/var/lib/rigwright/(build/[^/]*/tree|ccache)", path)}
    assert mine == set()


def test_build_has_the_proxies_and_nobody_sees_their_password(building):
    """A rig behind a proxy builds from git too."""
    assert f"https_proxy=http://ada:{SECRET}@proxy.invalid:3128" in building["environment"].splitlines()
    assert "no_proxy=localhost" in building["environment"]
    assert "geheim" not in building["shown"] and building["run"] == ""


def test_release_is_everybodys_to_read_and_roots_to_write(workshop, serving, building):
    """Under any umask; and its sums are kept with it."""
    release = workshop.on(serving, "readlink -f /opt/rigwright/services/demo/current")
    assert workshop.on(serving, f"find {release} ! -user root -o ! -type l -perm /022 -o ! -type l ! -perm -004") == ""
    assert workshop.on(serving, f"cd {release} && sha256sum --quiet --strict -c sums.txt") == ""
    listed = set(workshop.on(serving, f"cut -c67- {release}/sums.txt").splitlines())
    there = set(workshop.on(serving, f"cd {release} && find bin ! -type d -printf './%p\\n'").splitlines())
    assert listed == there | {"./release.json", "./receipt.json", "./flags.txt"} and "./bin/llama-server" in there
    assert "--ctx-size" in workshop.on(serving, f"cat {release}/flags.txt")
    assert workshop.on(serving, "ls -A /opt/rigwright/llamacpp/releases | grep '^[.]'", check=False) == ""


def test_leftovers_of_other_builds_go_and_what_may_be_awaited_stays(workshop, serving, building):
    """8 GB of a failed build are no longer kept for ever, and that is said."""
    said = re.findall(r"/var/lib/rigwright/build/(\S+) goes, \S+ that an unfinished build left", building["output"])
    assert said == ["old", "old.tar.gz"]
    assert workshop.on(serving, "ls /var/lib/rigwright/build") == "fresh"


def test_nothing_that_root_runs_may_be_written_by_others(workshop, serving, building):
    """The kernel is asked about each file there is: for the builder, nobody, and an account as services have it."""
    for user in ("rigwright", "nobody", "61999"):
        found = {path for path in writable(workshop, serving, user) if not path.startswith("/var/lib/rigwright/ccache")}
        assert found == set(), user
    assert workshop.on(serving, "stat -c '%U %a' /var/lib/rigwright/ccache") == "rigwright 755"
    # No group either, whoever is in it; and no file of another owner.
    ours = "/opt/rigwright /etc/rigwright /var/lib/rigwright $(ls -d /etc/systemd/system/rigwright-*)"
    odd = (
        f"find {ours} ! -type l \\( ! -user root -o -perm /022 -o -perm /6000 \\) ! -path '/var/lib/rigwright/ccache*'"
    )
    assert workshop.on(serving, odd) == ""
    for unit in workshop.on(serving, "systemctl list-unit-files --no-legend 'rigwright-*' | cut -d' ' -f1").split():
        named = workshop.on(
            serving, f"systemctl show -P FragmentPath -P DropInPaths -P EnvironmentFiles {unit}"
        ).split()
        program = workshop.on(serving, f"systemctl show -P ExecStart {unit}")
        for path in [*named, re.search(r"path=(\S+)", program)[1]]:
            assert roots_alone(workshop, serving, path) == "", path
    libraries = workshop.on(
        serving, "ldd /opt/rigwright/llamacpp/releases/*/bin/llama-server | grep -o '/[^ ]*' | sort -u"
    )
    assert "/libc.so.6" in libraries
    for path in libraries.replace(":", "").split():
        assert roots_alone(workshop, serving, path) == "", path
    searched = workshop.on(
        serving,
        "readelf -d /opt/rigwright/llamacpp/releases/*/bin/* 2>/dev/null | grep PATH | grep -o '\\[.*' | sort -u",
    )
    assert searched == "[$ORIGIN]"


def roots_alone(workshop, rig, path):
    """What is not root's alone of a path, the directories above it and where it leads; empty if all is."""
    walk = r"""walk() {
      at=$1
      while :; do
        set -- $(stat -c '%u %a %F' -- "$at")
        [ "$3" != symbolic ] || set -- "$1" 0
        [ "$1" = 0 ] && [ $((0$2 & 022)) = 0 ] || echo "$at"
        [ "$at" != / ] || break
        at=$(dirname -- "$at")
      done
    }"""
    path = shlex.quote(path)
    return workshop.on(rig, f"{walk}\nwalk {path}; walk $(readlink -f -- {path})")


STAND_IN = """
work=/var/lib/rigwright/build/feed
rm -rf $work /opt/rigwright/llamacpp/releases/feed
mkdir -p $work/tree/build/bin
cp /bin/true $work/tree/build/bin/llama-server
ln -s llama-server $work/tree/build/bin/link
echo '--ctx-size N' >$work/tree/help
echo 'seconds 3' >$work/tree/receipt
touch $work/tree/done $work/log
chown -R rigwright: $work/tree
cd $work/tree/build/bin
"""


def install(workshop, rig, planted):
    """What build.sh says, and leaves, of a build that has ended and holds what a builder might have planted."""
    text = script(
        "llamacpp",
        "settle.sh",
        "build.sh",
        ID="feed",
        RELEASE="/opt/rigwright/llamacpp/releases/feed",
        WORK="/var/lib/rigwright/build/feed",
        BUILDER="rigwright",
        MANIFEST='{\n "identity": "feed",\n}',
        ARCHIVE="",
        VERSION="1.2",
        NVCC="",
        NCCL="",
    )
    workshop.on(rig, f"{STAND_IN}\n{planted}")
    said = workshop.on(rig, f"umask 077\n{text}", check=False)
    left = workshop.on(rig, "cd /opt/rigwright/llamacpp/releases; find .feed* feed 2>/dev/null", check=False)
    return said, left


def test_build_is_installed_as_roots_and_without_privileges(workshop, serving):
    """Under any umask; what the builder set on a file is not kept."""
    said, _ = install(workshop, serving, "chmod 6777 llama-server; chmod 777 .")
    assert said == "::progress release feed installed"
    release = "/opt/rigwright/llamacpp/releases/feed"
    modes = workshop.on(
        serving, f"cd {release} && stat -c '%n %a %U' . bin bin/* * | sort -u; cat flags.txt"
    ).splitlines()
    assert modes == [
        ". 755 root",
        "bin 755 root",
        "bin/link 777 root",
        "bin/llama-server 755 root",
        "flags.txt 644 root",
        "receipt.json 644 root",
        "release.json 644 root",
        "sums.txt 644 root",
        "--ctx-size N",
    ]
    workshop.on(serving, f"rm -r {release}")


@pytest.mark.parametrize(
    ("planted", "said"),
    [
        (
            "ln -s /var/lib/rigwright/ccache/x.so libx.so; chown -h rigwright libx.so",
            "/.feed/bin/libx.so is no file of this release",
        ),
        (
            "ln -s ../../../../../tmp/x libx.so; chown -h rigwright libx.so",
            "/.feed/bin/libx.so is no file of this release",
        ),
        ("mkfifo fifo; chown rigwright fifo", "/.feed/bin/fifo is no file of this release"),
        ("ln /etc/shadow words 2>/dev/null || cp /etc/shadow words", "bin/words is not the builder's own"),
        ("rm ../../help; ln -s /etc/shadow ../../help", "help is not the builder's own"),
        ("runuser -u rigwright -- ln -sf /etc/shadow ../../help", "/.feed/help is no file of this release"),
    ],
    ids=["link", "link-up", "fifo", "hard-link", "roots", "help"],
)
def test_build_that_is_not_plain_is_not_installed(workshop, serving, planted, said):
    """Root copies nothing but plain files of the builder's, and follows no link of it."""
    output, left = install(workshop, serving, planted)
    assert said in output and "::error" in output, output
    assert left == ""


def test_copy_that_fails_leaves_nothing(workshop, serving):
    """A full disk does not stay full."""
    small = "mount -t tmpfs -o size=1M none /opt/rigwright/llamacpp/releases"
    output, left = install(workshop, serving, f"head -c 3000000 /dev/urandom >libllama.so; chown rigwright *; {small}")
    free = workshop.on(serving, "df --output=iused /opt/rigwright/llamacpp/releases | tail -n1")
    workshop.on(serving, "umount /opt/rigwright/llamacpp/releases; rm -rf /var/lib/rigwright/build/feed")
    assert "copying the build to /opt/rigwright/llamacpp/releases failed; is the disk full?" in output
    assert (left, free.strip()) == ("", "1")


def test_account_that_we_did_not_make_is_refused(workshop, serving, unharmed):
    """It may have a password and sudo's trust; builds and downloads would have both."""
    made = "/var/lib/rigwright/account.created"
    workshop.on(serving, f"usermod -c '' -s /bin/bash -aG adm rigwright; mv {made} /root/made")
    outcome = workshop.deploy(workshop.spec(context=1024), serving)
    workshop.on(serving, f"mv /root/made {made}")
    old = workshop.deploy(workshop.spec(context=1024), serving, arguments=("--dry",))
    workshop.on(serving, "usermod -c 'Rigwright builds and downloads' -s /usr/sbin/nologin -G '' rigwright")
    assert outcome.code == 1
    assert any(
        re.search(r"the account rigwright \(uid \d+, groups rigwright adm, shell /bin/bash\) was not made by", line)
        for line in outcome.lines
    ), outcome.output
    assert "was not made by" not in old.output


class Proxy(BaseHTTPRequestHandler):
    """A proxy that lets nobody through, and remembers what was asked."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        who = self.headers.get("Proxy-Authorization")
        self.asked.append(f"{self.path} {who}")
        self.send_response(403 if who else 407)
        self.send_header("Proxy-Authenticate", 'Basic realm="company"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


def test_git_asks_through_the_proxies_of_root(workshop, serving):
    """As root's own shell would: a rig in a company reaches nothing without."""
    server = ThreadingHTTPServer((workshop.host_address, 0), Proxy)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source = "http://git.invalid/${HOME}/x$y"
    text = script("llamacpp", "resolve.sh", BUILDER="rigwright", GIT=source, REF="v1", STAMP="/run/stamp/x")
    proxy = f"http://ada:geheim@{workshop.host_address}:{server.server_port}"
    said = workshop.on(serving, f"export http_proxy={proxy}\n{text}", check=False)
    server.shutdown()
    server.server_close()
    secret = base64.b64encode(b"ada:geheim").decode()
    assert Proxy.asked[-1] == f"{source}/info/refs?service=git-upload-pack Basic {secret}"
    assert f"::error {source} cannot be read: fatal: " in said and "geheim" not in said


def test_build_that_cannot_begin_says_why(workshop, serving, unharmed):
    """Its log is empty: what systemd says is shown."""
    workshop.on(serving, "chmod 700 /var/lib/rigwright/build")
    outcome = workshop.deploy(workshop.spec(llamacpp=BUILD | {"cmake_options": {"RIGWRIGHT_TEST": "no"}}), serving)
    workshop.on(serving, "chmod 755 /var/lib/rigwright/build; rm -rf /var/lib/rigwright/build/*")
    assert outcome.code == 1
    assert any("systemd could not start the build" in line and "Permission denied" in line for line in outcome.lines), (
        outcome.output
    )
