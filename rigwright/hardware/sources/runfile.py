"""What NVIDIA's own installer left: `ls` of its files, `dpkg -S` and `rpm -qf` that know no owner, its log.

Source: nvidia-installer 535 to 595; dpkg-query 1.21 and rpm 4.16 for a file that no package owns.
"""

from __future__ import annotations

import re

from rigwright.hardware.reading import Reading
from rigwright.hardware.sources import cells, software_text

_FILES = (
    r"/usr/(?:local/)?bin/nvidia-(?:uninstall|installer)|/var/log/nvidia-(?:installer|uninstall)\.log"
    r"|/usr/local/cuda[\w.-]*/bin/cuda-uninstaller"
)
_THERE = re.compile(rf"(?:[-l][rwxsSt-]{{9}}\S?\s.*\s)?(?P<file>{_FILES})(?: -> \S+)?")
_LOG = re.compile(r".*nvidia-installer log file '(?P<file>/[^']+)'.*")
_FAILED = re.compile(r"ERROR: Installation has failed|^ERROR: Aborting installation", re.MULTILINE)
# Any file of a driver: /usr/lib/x86_64-linux-gnu/libcuda.so.1, /lib/modules/…/nvidia.ko.
_OWNED_BY_NONE = re.compile(
    r".*no path found matching pattern [*]?(?P<deb>/\S*(?:nvidia|cuda)\S*?)[*.]?"
    r"|(?:.*\s)?file (?P<rpm>/\S*(?:nvidia|cuda)\S*) is not owned by any package.*"
)
_NOT_THERE = re.compile(
    rf".*(?:cannot access|cannot stat|No such file).*?(?:{_FILES}).*|.*(?:{_FILES})'?: No such file.*"
)


def read(text: str) -> Reading:
    """The files; none where each was asked for and is not there, or the file of that name is empty."""
    files: list[str] = []
    is_asked = not text.strip()
    for line in (line.strip() for line in cells.lines(text)):
        if found := _THERE.fullmatch(line) or _LOG.fullmatch(line):
            files.append(found["file"])
        elif found := _OWNED_BY_NONE.fullmatch(line):
            files.append(found["deb"] or found["rpm"])
        is_asked = is_asked or bool(_NOT_THERE.fullmatch(line))
    if _FAILED.search(text):  # its log stays where it installed nothing
        files = [file for file in files if not file.endswith(".log")]
        is_asked = True
    if not files and not is_asked:
        return Reading()
    return software_text.answer("runfile", runfile=tuple(dict.fromkeys(files)))
