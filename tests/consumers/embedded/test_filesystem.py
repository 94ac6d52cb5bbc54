"""Where the embedded broker refuses to keep messages."""

from pathlib import Path, PurePath

import kombu
import pytest

from consumers import embedded
from consumers.embedded import filesystem
from consumers.embedded.filesystem import file_system_kind, refuse_network_file_system

MOUNTS = r"""
sysfs /sys sysfs rw 0 0
/dev/vda1 / ext4 rw,relatime 0 0
tmpfs /tmp tmpfs rw 0 0
filer:/export /srv/shared nfs4 rw,vers=4.2 0 0
/dev/vdb1 /srv/shared/fast ext4 rw 0 0
//win/pay /mnt/with\040space cifs rw 0 0
user@host: /home/me/remote fuse.sshfs rw 0 0
/dev/vdc1 /covered ext4 rw 0 0
C:\134 /covered 9p rw 0 0
"""


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/var/lib/payments", "ext4"),
        ("/tmp/payments", "tmpfs"),
        ("/srv/shared", "nfs4"),
        ("/srv/shared/payments", "nfs4"),
        ("/srv/shared/fast/payments", "ext4"),
        ("/srv/shared-not", "ext4"),
        ("/mnt/with space/payments", "cifs"),
        ("/home/me/remote/x", "fuse.sshfs"),
        ("/covered/x", "9p"),
    ],
)
def test_the_nearest_and_latest_mount_decides(directory: str, kind: str) -> None:
    assert file_system_kind(PurePath(directory), MOUNTS) == kind


@pytest.mark.parametrize("kind", ["nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "ceph"])
def test_a_network_file_system_is_refused_in_one_sentence_that_names_the_setting(
    tmp_path: Path, kind: str
) -> None:
    with pytest.raises(embedded.BrokerUnusable) as refusal:
        refuse_network_file_system(tmp_path, f"somewhere {tmp_path} {kind} rw 0 0\n")

    assert str(tmp_path) in str(refusal.value)
    assert kind in str(refusal.value)
    assert "PAYMENTS_DATA_DIR" in str(refusal.value)


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "apfs"])
def test_a_local_file_system_is_taken(tmp_path: Path, kind: str) -> None:
    refuse_network_file_system(tmp_path, f"/dev/vda {tmp_path} {kind} rw 0 0\n")


def test_no_mount_table_is_no_reason_to_refuse(tmp_path: Path) -> None:
    refuse_network_file_system(tmp_path, "")


def test_a_connection_to_a_network_file_system_fails_before_anything_is_written(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"filer:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(filesystem, "MOUNTS", mounts)

    with pytest.raises(embedded.BrokerUnusable, match="PAYMENTS_DATA_DIR"):
        kombu.Connection(url).transport.establish_connection()

    assert list((tmp_path / "broker").iterdir()) == []
