"""Refuses directories on network file systems, where locks do not hold and two would take one message."""

from collections.abc import Iterator
from pathlib import Path, PurePath

from consumers.embedded.errors import BrokerUnusable

MOUNTS = Path("/proc/mounts")

# SQLite's write-ahead log needs shared memory between all users of a file, so none may be on another host
# (sqlite.org/wal.html), and flock is local or missing on these (flock(2), "NFS details" and "CIFS details").
_NETWORK_KINDS = {
    *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "glusterfs", "gpfs", "lustre", "ncpfs", "nfs", "nfs4"),
    *("gfs2", "ocfs2", "orangefs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "prl_fs", "vboxsf", "vmhgfs"),
    *("fuse.ceph", "fuse.davfs", "fuse.gcsfuse", "fuse.glusterfs", "fuse.juicefs", "fuse.rclone"),
    *("fuse.s3fs", "fuse.smbnetfs", "fuse.sshfs", "fuse.vmhgfs-fuse"),
}


def refuse_network_file_system(directory: Path, mounts: str | None = None) -> None:
    """Check the kind of file system that holds an existing directory.

    `mounts` is the text of the mount table, by default /proc/mounts; where there is none (not Linux) only the
    trial lock of the owner file protects.

    Raises: BrokerUnusable.
    """
    if mounts is None:
        mounts = MOUNTS.read_text(errors="surrogateescape") if MOUNTS.exists() else ""
    kind = file_system_kind(directory.resolve(), mounts)
    if kind in _NETWORK_KINDS:
        raise BrokerUnusable(
            f"The embedded broker cannot keep its messages in {directory}: {kind} is a network or shared "
            f"file system, whose locks do not protect them. Set PAYMENTS_DATA_DIR to a directory on a local "
            f"disk."
        )


def file_system_kind(directory: PurePath, mounts: str) -> str | None:
    """Find what is mounted nearest above; of two mounts on one place the later hides the former."""
    nearest, found = -1, None
    for mount_point, kind in _mounted(mounts):
        depth = len(mount_point.parts)
        if depth >= nearest and directory.is_relative_to(mount_point):
            nearest, found = depth, kind
    return found


def _mounted(mounts: str) -> Iterator[tuple[PurePath, str]]:
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2:
            yield PurePath(_unescaped(fields[1])), fields[2]


def _unescaped(field: str) -> str:
    """Undo proc's escapes of space, tab, newline and backslash (fstab(5))."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        field = field.replace(code, character)
    return field
