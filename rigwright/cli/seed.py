"""`rigwright seed`: what a stick tells the installers of Ubuntu and Debian, so that a bare machine becomes a rig."""

from __future__ import annotations

from pathlib import Path

import click

from rigwright.cli.machine import limit_option
from rigwright.errors import RigwrightError, WrongSpec


@click.command()
@click.argument("inventory", type=click.Path())
@limit_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("seed"), show_default=True, metavar="DIR", help="Where to."
)
@click.option("--image", is_flag=True, help="Also seed.img: the files for Ubuntu as one image of a stick.")
def seed(inventory: str, limit: tuple[str, ...], out: Path, image: bool) -> None:
    """Write, for each rig of INVENTORY that has `rig.seed`, what installers want to know, in DIR/RIG.

    user-data, meta-data and network-config are Ubuntu's, for a stick that is called CIDATA; preseed.cfg is Debian's.
    Neither has a secret in it. No rig is asked.
    """
    from rigwright.inventory.rows import read_rows
    from rigwright.seed.files import make_image, write
    from rigwright.seed.machine import bare_machine
    from rigwright.spec.rig import parse_spec

    machines, wrong = [], []
    for row in read_rows(inventory, limit=limit):
        try:
            spec = parse_spec(row["name"], row["data"].get("rig"), inventory=inventory)
            if spec.seed or limit:
                machines.append(bare_machine(row["name"], spec, row["data"]))
        except RigwrightError as error:
            wrong.append(error.message)
    if wrong:
        raise WrongSpec("\n".join(wrong))
    if not machines:
        raise WrongSpec(f"{inventory}: no rig has rig.seed; see docs/rebuild.md")
    for machine in machines:
        folder = write(machine, out)
        click.echo(f"{machine.rig}: {folder}/user-data meta-data network-config preseed.cfg")
        if image:
            make_image(folder)
            click.echo(f"{machine.rig}: {folder}/seed.img")
        click.echo(f"  it erases {machine.settings.disk}, and no other disk")
    _tell(machines[0].rig, out, has_image=image)


def _tell(rig: str, out: Path, *, has_image: bool) -> None:
    """What comes next, for one of them."""
    folder, stick = out / rig, "/dev/disk/by-id/usb-…"
    files = " ".join(f"{folder}/{name}" for name in ("user-data", "meta-data", "network-config"))
    first = f"mkfs.vfat -I -n CIDATA {stick} && mcopy -i {stick} {files} ::"
    for line in (
        "",
        "Ubuntu Server: its installer on one stick, these files on another one:",
        f"  {f'dd if={folder}/seed.img of={stick} bs=1M conv=fsync' if has_image else first}",
        "  boot the first with the second beside it; it asks once whether to go on, and erases nothing before that",
        "Debian: serve the file, boot the installer, press e at its menu, and type behind the kernel's words:",
        f"  python3 -m http.server 8000 --directory {folder}",
        "  auto=true priority=critical url=http://THIS-MACHINE:8000/preseed.cfg",
        f"When the rig has booted: pyinfra INVENTORY deploys/site.py --limit {rig}",
    ):
        click.echo(line)
