"""What is broken on a rig, so that each check of `verify` is seen failing once, for the reason that it exists."""

from __future__ import annotations

from dataclasses import dataclass

# The services of the rig that is broken, their ports, and whether each asks for a key.
SERVICES = {
    "demo": (8080, False),  # runs another release than it should, with an open drop-in
    "edited": (8081, True),  # changed behind its process's back
    "restarted": (8082, True),  # restarted with another command line
    "loading": (8083, False),
    "stopped": (8084, False),  # and its record is damaged
    "garbage": (8085, False),  # another program answers 200 to everything
    "split": (8086, True),  # three files, at every address of both kinds
}
KEY = "sk-geheim-Ab9c8d7e6f"
UUID = "GPU-0c0ffee0-0000-0000-0000-000000000001"

# keep PATH: as it is now it comes back when all is mended. drop_in SERVICE: settings by hand.
HELP = r"""set -eu
units=/etc/systemd/system releases=/opt/rigwright/llamacpp/releases weights=/var/lib/rigwright/weights
keep() { mkdir -p /root/kept; cp -a --parents "$@" /root/kept; }
drop_in() { mkdir -p "$units/rigwright-$1.service.d"; cat >>"$units/rigwright-$1.service.d/by-hand.conf"; }
# other_release SERVICE ID: its link names a copy of the release with another id.
other_release() {
    keep "/opt/rigwright/services/$1/current"
    release=$(readlink "/opt/rigwright/services/$1/current")
    cp -al "$release" "$releases/$2"
    sed -i "s/\"id\": *\"[^\"]*\"/\"id\": \"$2\"/" "$releases/$2/release.json"
    ln -sfn "$releases/$2" "/opt/rigwright/services/$1/current"
}
# on_gpu SERVICE UUID [CPUS]: its record says that it is planned there, and on which CPUs.
on_gpu() {
    keep "/etc/rigwright/$1.json"
    sed -i "s/\"gpus\":\[\]/\"gpus\":[{\"uuid\":\"$2\"}]/; s/\"cpus\":\"\"/\"cpus\":\"${3-}\"/" "/etc/rigwright/$1.json"
}
# flip FILE: its last byte is another one; its size stays, and so does what its stamp says.
flip() {
    keep "$1"; last=$(tail -c1 "$1" | od -An -tu1); head -c -1 "/root/kept$1" >"$1"
    printf "\\$(printf %03o $(((last + 1) % 256)))" >>"$1"
}
# sign SERVICE: the file of its unit says that it is as it was written.
sign() { unit=$units/rigwright-$1.service; sed -i "2s/: .*/: $(tail -n +3 $unit | sha256sum | cut -d' ' -f1)/" $unit; }
"""

# Says what a server says that works, but for its words, and listens where nobody looks.
_GARBAGE = r"""import socket
body = b'{"status": "ok", "usage": {"completion_tokens": 8}, "choices": [{"message": {"content": ""}}]}'
beside = socket.create_server(("127.0.0.1", 9085))
server = socket.create_server(("127.0.0.1", 8085))
while True:
    client = server.accept()[0]
    client.recv(65536)
    client.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    client.close()
"""

MEND = r"""set -eu
cp -a --remove-destination /root/kept/. /
rm -rf /root/kept /etc/systemd/system/rigwright-*.service.d
systemctl daemon-reload
systemctl kill -s KILL rigwright-loading
systemctl stop rigwright-ghost
systemctl restart 'rigwright-*.service' rigwright-stopped
journalctl -q --rotate --vacuum-size=1 2>/dev/null
"""


@dataclass(frozen=True)
class Breakage:
    """One thing that is wrong: the check that must fail for it, for which service, with what in its message."""

    check: str
    service: str | None
    """None: it is the rig's."""
    reason: str
    """A regular expression."""
    how: str = ""
    """A shell script on the rig; nothing where it follows from another breakage, or lies in the files of the user."""
    mend: str = ""
    """What undoes it beyond the files that were kept."""

    def __str__(self) -> str:
        return f"{self.check.removeprefix('test_')}-{self.service or 'rig'}"


_TOOLKIT = "/opt/rigwright/cuda/13.0-0123"
_RIG = (
    Breakage(
        "test_builder_cannot_log_in",
        None,
        "'/bin/bash' == '/usr/sbin/nologin'",
        "usermod -s /bin/bash rigwright",
        "usermod -s /usr/sbin/nologin rigwright",
    ),
    Breakage(
        "test_installed_files_belong_to_root",
        None,
        r"(?s)/flags\.txt.*/services/stopped.*/rigwright-stray\.service",
        "chmod o+w $releases/*/flags.txt; chown rigwright /var/lib/rigwright/services/stopped",
        "chmod o-w /opt/rigwright/llamacpp/releases/*/flags.txt; chown root /var/lib/rigwright/services/stopped",
    ),
    Breakage(
        "test_package_manager_is_whole",
        None,
        r"half configured[^']*\bcurl\b",
        "status=/var/lib/dpkg/status; keep $status;"
        " sed -i '/^Package: curl$/,/^$/s/ok installed$/ok half-configured/' $status",
    ),
    Breakage(
        "test_nothing_is_orphaned",
        None,
        r"\['ghost', 'stray'\] == \[\]",
        """echo >$units/rigwright-stray.service; chmod g+w $units/rigwright-stray.service
        printf '[Service]\nExecStart=sleep infinity\n' >$units/rigwright-ghost.service
        systemctl daemon-reload; systemctl start rigwright-ghost; rm $units/rigwright-ghost.service""",
        "rm /etc/systemd/system/rigwright-stray.service",
    ),
    Breakage(
        "test_machine_is_tuned",
        None,
        r"rigwright\.tuning\.service is inactive",
        "echo 'swappiness 10' >/etc/rigwright/tuning",
        "rm /etc/rigwright/tuning",
    ),
    # A toolkit that a deploy brought, or so it says there.
    Breakage(
        "test_toolkit_is_whole",
        None,
        r"\./bin/nvcc: FAILED",
        f"""mkdir -p {_TOOLKIT}/bin /var/lib/rigwright/cuda
        echo '{_TOOLKIT}/bin/nvcc 13.0 86 120' >/var/lib/rigwright/cuda/proven
        printf '%s\\n' '#!/bin/sh' 'case $1 in --version) echo release 13.0 ;; --list-gpu-code) echo sm_86 sm_75 ;;' \\
            '*) cp three.cu three ;; esac' >{_TOOLKIT}/bin/nvcc; chmod 755 {_TOOLKIT}/bin/nvcc; cd {_TOOLKIT}
        sed s/sm_75/sm_120/ bin/nvcc | sha256sum | sed 's|-|./bin/nvcc|' >sums.txt; cd /""",
        f"sed -i s/sm_75/sm_120/ {_TOOLKIT}/bin/nvcc",
    ),
    Breakage("test_toolkit_compiles_for_every_gpu", None, r"\['120'\] == \[\]"),
)

# Nothing here needs a restart, or shows to one.
_EDITED = (
    Breakage(
        "test_unit_is_active_and_enabled",
        "edited",
        "'disabled' == 'enabled'",
        "systemctl disable -q rigwright-edited",
        "systemctl enable -q rigwright-edited",
    ),
    Breakage(
        "test_unit_file_is_as_written",
        "edited",
        "# sha256 of the rest: ",
        "keep $units/rigwright-edited.service; echo '# by hand' >>$units/rigwright-edited.service",
    ),
    # The inventory asks for another context now.
    Breakage("test_plan_says_what_the_inventory_says", "edited", "context: 2048 was deployed, the inventory says 1024"),
    # The lock file says another count of threads.
    Breakage("test_runs_what_is_locked", "edited", "'2' != '77'"),
    Breakage(
        "test_process_runs_the_current_release",
        "edited",
        "releases/other/",
        "other_release edited other",
        "rm -r /opt/rigwright/llamacpp/releases/other",
    ),
    Breakage("test_release_is_as_built", "edited", r"\['\./release\.json'\] == \[\]"),
    Breakage(
        "test_no_switch_is_unfinished",
        "edited",
        r"\+ /var/lib/rigwright/services/edited/running",
        "touch /var/lib/rigwright/services/edited/running",
        "rm /var/lib/rigwright/services/edited/running",
    ),
    Breakage(
        "test_watch_is_on_and_had_nothing_to_restart",
        "edited",
        "it gave no answer and was restarted 2 times",
        "for _ in 1 2; do date +%s >>/var/lib/rigwright/services/edited/restarts; done",
        "rm /var/lib/rigwright/services/edited/restarts",
    ),
    Breakage("test_drop_ins_change_nothing_that_matters", "edited", r"'NoSuchSetting=1'"),
    Breakage(
        "test_unit_file_is_sound",
        "edited",
        "NoSuchSetting",
        "printf '[Service]\\nNoSuchSetting=1\\n' | drop_in edited",
    ),
    Breakage(
        "test_keys_stay_secret",
        "edited",
        r"\(0o644, 'root'\)|\(420, 'root'\)",
        "keep /etc/rigwright/edited.key; chmod 644 /etc/rigwright/edited.key",
    ),
    # It is planned on a GPU, and runs on the CPU.
    Breakage(
        "test_gpus_are_used_when_planned", "edited", rf"nothing on {UUID}: does the CPU", f"on_gpu edited {UUID} 4000"
    ),
    # And near that GPU, on a CPU which this machine has not.
    Breakage("test_process_keeps_to_the_planned_cpus", "edited", "the rig has none of the CPUs 4000 now; deploy again"),
    Breakage(
        "test_model_file_is_the_planned_one",
        "edited",
        r"'[0-9a-f]{12}\.\.\.[0-9a-f]+' == '[0-9a-f]{12}\.\.\.[0-9a-f]+'",
        "flip $weights/edited.gguf",
    ),
    Breakage(
        "test_no_download_is_left_over",
        "edited",
        "edited.gguf.part",
        "touch $weights/edited.gguf.part",
        "rm /var/lib/rigwright/weights/edited.gguf.part",
    ),
)

_RESTARTED = (
    Breakage(
        "test_process_has_the_planned_flags",
        "restarted",
        "'0.0.0.0' != '127.0.0.1'",
        r"""yes hello | head -n 3000 >/opt/long.jinja
        line=$(sed -n '/^ExecStart=/,/[^\\]$/p' $units/rigwright-restarted.service | tr -d '\\\n')
        line=$(echo "$line" | sed -E 's/--host [^ ]+/--host 0.0.0.0/; s/ --metrics//; s/ --api-key-file [^ ]+//
            s/--parallel 1/--parallel 2/; s|$| --chat-template-file /opt/long.jinja|')
        printf '[Service]\nExecStart=\n%s\n' "$line" | drop_in restarted""",
        "rm /opt/long.jinja",
    ),
    Breakage("test_runs_what_is_locked", "restarted", "'0.0.0.0' != '127.0.0.1'"),
    Breakage("test_drop_ins_change_nothing_that_matters", "restarted", r"'ExecStart='"),
    Breakage(
        "test_release_is_as_built",
        "restarted",
        r"'\./bin/llama-server'",
        """other_release restarted changed
        cp $releases/changed/bin/llama-server $releases/changed/bin/new; echo x >>$releases/changed/bin/new
        mv $releases/changed/bin/new $releases/changed/bin/llama-server""",
        "rm -r /opt/rigwright/llamacpp/releases/changed",
    ),
    Breakage(
        "test_no_switch_is_unfinished",
        "restarted",
        r"\+ /opt/rigwright/services/restarted/previous",
        "ln -s /nowhere /opt/rigwright/services/restarted/previous",
        "rm /opt/rigwright/services/restarted/previous",
    ),
    Breakage(
        "test_model_file_is_the_planned_one",
        "restarted",
        r"\('GGUF', '\d+'\) == \('GGUF', '\d+'\)",
        "keep $weights/restarted.gguf; echo more >>$weights/restarted.gguf",
    ),
    Breakage(
        "test_listens_where_it_should_and_nowhere_else",
        "restarted",
        r"\('tcp', '0\.0\.0\.0', 8082\)\] == \[\('tcp', '127\.0\.0\.1', 8082\)",
    ),
    Breakage("test_asks_for_the_key", "restarted", "200 == 401"),
    Breakage(
        "test_process_may_lock_what_is_planned",
        "restarted",
        r"Max locked memory",
        """keep /etc/rigwright/restarted.json
        sed -i 's/"value":"mmap"/"value":"mlock"/' /etc/rigwright/restarted.json""",
    ),
    Breakage("test_props_agree_with_the_plan", "restarted", "2 == 1"),
    Breakage("test_metrics_are_served", "restarted", "501 == 200"),
    Breakage("test_completes_a_chat", "restarted", "400 == 200"),
    Breakage(
        "test_process_is_not_root",
        "restarted",
        "'0' != '0'",
        "printf '[Service]\\nDynamicUser=no\\nUser=root\\n' | drop_in restarted",
    ),
    Breakage(
        "test_keys_stay_secret",
        "restarted",
        r"\(0, '1'\) == \(1, '0'\)",
        "printf '[Service]\\nExecStartPre=cat %%d/api-key\\n' | drop_in restarted",
    ),
)

_DEMO = (
    Breakage(
        "test_release_is_the_wanted_source",
        "demo",
        "'ffffffff[0-9a-f]' in ",
        """other_release demo forged
        sed -i 's/"identity": *"......../"identity": "ffffffff/' $releases/forged/release.json""",
        "rm -r /opt/rigwright/llamacpp/releases/forged",
    ),
    Breakage(
        "test_keys_stay_secret",
        "demo",
        r"\['TOY_API_KEY'\] == \[\]",
        "printf '[Service]\\nEnvironment=TOY_API_KEY=x\\n' | drop_in demo",
    ),
    Breakage(
        "test_unit_file_is_sound",
        "demo",
        "<= 2.0",
        "printf '[Service]\\nIPAddressDeny=\\nSystemCallFilter=\\nPrivateNetwork=no\\nRestrictNamespaces=no\\n'"
        " | drop_in demo; printf 'ProtectSystem=no\\n' | drop_in demo;"
        " printf 'PrivateDevices=no\\nProtectClock=no\\nProtectKernelModules=no\\n' | drop_in demo",
    ),
    Breakage(
        "test_model_file_is_the_planned_one",
        "demo",
        r"tiny\.gguf has no stamp",
        "keep $weights/.tiny.gguf.rigwright; rm $weights/.tiny.gguf.rigwright",
    ),
    Breakage("test_runs_what_is_locked", "demo", r"\.tiny\.gguf\.rigwright"),
    Breakage("test_drop_ins_change_nothing_that_matters", "demo", "'IPAddressDeny='"),
    Breakage(
        "test_files_of_the_machine_set_no_flags",
        "demo",
        r"/etc/llama\.cpp/config\.ini sets flags of rigwright-demo\.service; deploy again to hide it",
        "mkdir /etc/llama.cpp; echo 'timeout = 601' >/etc/llama.cpp/config.ini;"
        " printf '[Service]\\nInaccessiblePaths=\\n' | drop_in demo",
        "rm -r /etc/llama.cpp",
    ),
    Breakage("test_release_is_as_built", "demo", r"\['\./release\.json'\] == \[\]"),
)

_GARBLED = (
    Breakage(
        "test_completes_a_chat",
        "garbage",
        "assert ''",
        f"""cat >/opt/garbage.py <<'END'
{_GARBAGE}END
        cp $weights/garbage.gguf $weights/garbage-00001-of-00002.gguf
        cp $weights/.garbage.gguf.rigwright $weights/.garbage-00001-of-00002.gguf.rigwright
        run="/usr/bin/python3 /opt/garbage.py --model $weights/garbage-00001-of-00002.gguf --alias garbage"
        printf '[Service]\\nExecStart=\\nExecStart=%s\\n' "$run" | drop_in garbage""",
        "rm /opt/garbage.py /var/lib/rigwright/weights/*garbage-00001-of-00002.gguf*",
    ),
    Breakage("test_further_files_are_whole", "garbage", "garbage-00002-of-00002.gguf has no stamp"),
    Breakage("test_process_has_the_planned_flags", "garbage", "'/opt/garbage.py' != "),
    Breakage("test_runs_what_is_locked", "garbage", "'/opt/garbage.py' != "),
    Breakage("test_process_runs_the_current_release", "garbage", "/usr/bin/python3"),
    Breakage("test_drop_ins_change_nothing_that_matters", "garbage", "'ExecStart='"),
    Breakage("test_listens_where_it_should_and_nowhere_else", "garbage", r"\('tcp', '127\.0\.0\.1', 9085\)"),
    Breakage("test_is_healthy", "garbage", "'status': 'ok'"),
    Breakage("test_release_is_the_wanted_source", "garbage", "KeyError: 'build_info'"),
    Breakage("test_props_agree_with_the_plan", "garbage", "KeyError: 'total_slots'"),
    Breakage("test_metrics_are_served", "garbage", r"assert \(None\)"),
)

# One part is no longer what was brought; another is, by its stamp, but not what the process was started with.
_SPLIT = (
    Breakage(
        "test_further_files_are_whole",
        "split",
        r"'[0-9a-f]{12}\.\.\.[0-9a-f]+' == '[0-9a-f]{12}\.\.\.[0-9a-f]+'",
        "flip $weights/split-00003-of-00003.gguf",
    ),
    Breakage(
        "test_model_file_is_the_planned_one",
        "split",
        "RIGWRIGHT_WEIGHTS=",
        """part=$weights/split-00002-of-00003.gguf stamp=$weights/.split-00002-of-00003.gguf.rigwright
        flip $part; keep $stamp; sed -i "s/^[0-9a-f]*/$(sha256sum <$part | cut -d' ' -f1)/" $stamp""",
    ),
    Breakage("test_runs_what_is_locked", "split", r"split-00002-of-00003|in \(None, "),
    Breakage(
        "test_no_download_is_left_over",
        "split",
        "split-00002-of-00003.gguf.part",
        "touch $weights/split-00002-of-00003.gguf.part",
        "rm /var/lib/rigwright/weights/split-00002-of-00003.gguf.part",
    ),
)

# It opens a pipe that nobody writes to, and the file is back at its place before anybody looks.
_LOADING = (
    Breakage(
        "test_is_healthy",
        "loading",
        r"\(503, .* == \(200, \{'status': 'ok'\}\)",
        """keep $weights/loading.gguf; mv $weights/loading.gguf $weights/aside; mkfifo $weights/loading.gguf
        systemctl restart rigwright-loading
        until curl -sS http://127.0.0.1:8083/health 2>&1 | grep -q Loading; do sleep 0.1; done
        mv $weights/aside $weights/loading.gguf""",
    ),
    Breakage(
        "test_model_file_is_the_planned_one",
        "loading",
        r"'root', '-', 'w'",
        "chmod o+w $weights/loading.gguf",
        "chmod o-w /var/lib/rigwright/weights/loading.gguf",
    ),
    Breakage("test_release_is_the_wanted_source", "loading", "503 == 200"),
    Breakage("test_completes_a_chat", "loading", "503 == 200"),
    Breakage("test_props_agree_with_the_plan", "loading", "503 == 200"),
    Breakage("test_metrics_are_served", "loading", "503 == 200"),
)

_STOPPED = (
    Breakage(
        "test_unit_is_active_and_enabled", "stopped", r"\('inactive', 'success'\)", "systemctl stop rigwright-stopped"
    ),
    *(
        Breakage(check, "stopped", "rigwright-stopped.service has no process")
        for check in (
            "test_unit_file_is_as_written",
            "test_process_has_the_planned_flags",
            "test_runs_what_is_locked",
            "test_process_runs_the_current_release",
            "test_process_is_not_root",
            "test_keys_stay_secret",
            "test_model_file_is_the_planned_one",
            "test_no_download_is_left_over",
            "test_further_files_are_whole",
            "test_files_of_the_machine_set_no_flags",
            "test_listens_where_it_should_and_nowhere_else",
        )
    ),
    Breakage(
        "test_plan_says_what_the_inventory_says",
        "stopped",
        "JSONDecodeError",
        "keep /etc/rigwright/stopped.json; echo '{' >/etc/rigwright/stopped.json",
    ),
    # What the model is for stands in the record.
    Breakage("test_completes_a_chat", "stopped", "JSONDecodeError"),
    Breakage("test_gpus_are_used_when_planned", "stopped", "JSONDecodeError"),
    Breakage("test_process_keeps_to_the_planned_cpus", "stopped", "JSONDecodeError"),
    Breakage("test_process_may_lock_what_is_planned", "stopped", "JSONDecodeError"),
    *(
        Breakage(check, "stopped", "Failed to connect|Could not connect|Couldn't connect")
        for check in (
            "test_release_is_the_wanted_source",
            "test_is_healthy",
            "test_props_agree_with_the_plan",
            "test_metrics_are_served",
        )
    ),
)

# systemd starts it anew, from the unit that it has read: five seconds later.
_CRASHED = (
    Breakage(
        "test_process_was_not_started_anew",
        "demo",
        "started anew 1 times",
        "systemctl kill -s KILL --kill-whom=main rigwright-demo",
    ),
)

# Their processes have started by now. The file of one is another since, signed as ours are, and systemd has read it; it
# has not read the other one, which bites at the next boot.
_LATE = (
    Breakage(
        "test_unit_file_is_as_written",
        "demo",
        "'RIGWRIGHT_UNIT=000000000000' in ",
        """restarts() { systemctl show -P NRestarts rigwright-demo; }
        until [ "$(restarts)" = 1 ] && systemctl is-active -q rigwright-demo; do sleep 0.2; done
        keep $units/rigwright-demo.service
        sed -i 's/^Environment=RIGWRIGHT_UNIT=.*/Environment=RIGWRIGHT_UNIT=000000000000/' $units/rigwright-demo.service
        sign demo; systemctl daemon-reload""",
    ),
    Breakage(
        "test_unit_file_is_as_written",
        "loading",
        "changed since systemd read it",
        """keep $units/rigwright-loading.service
        sed -i 's/^RestartSec=.*/RestartSec=6/' $units/rigwright-loading.service; sign loading""",
    ),
)

# In this order: what is started anew, then what is changed beside running processes.
STARTED = (*_DEMO, *_RESTARTED, *_GARBLED)
BESIDE = (*_CRASHED, *_RIG, *_EDITED, *_SPLIT, *_LOADING, *_STOPPED, *_LATE)
BREAKAGES = (*STARTED, *BESIDE)


def script(breakages: tuple[Breakage, ...]) -> str:
    """All of it in one shell."""
    return HELP + "".join(f"{one.how}\n" for one in breakages if one.how)
