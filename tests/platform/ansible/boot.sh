#!/bin/sh
# First process of its own pid, mount, uts, ipc, net and cgroup namespaces: makes an overlay of BASE the root
# directory and becomes that system's systemd. Every mount goes away with the namespace.
# Usage: boot.sh BASE SCRATCH   (SCRATCH: an empty directory for what the system writes)
set -eu
base=$1 scratch=$2 root=$2/root
mkdir "$scratch/upper" "$scratch/work" "$root"
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$base,upperdir=$scratch/upper,workdir=$scratch/work" "$root"
# The package lists are as old as the cached tree; without a network they cannot be renewed, so they count as new.
touch "$root/var/lib/apt/lists"
cd "$root"
mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys # the kernel's settings belong to the host
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
for device in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 "dev/${device%:*}" c 1 "${device#*:}"
done
mknod -m 666 dev/tty c 5 0
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
mount -t tmpfs -o mode=1777 tmpfs dev/shm
ln -s pts/ptmx dev/ptmx
ln -s /proc/self/fd dev/fd
mkdir run/host-root
pivot_root . run/host-root
exec env -i container=medtower-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /bin/sh -c 'umount -l /run/host-root; rmdir /run/host-root; exec /lib/systemd/systemd' </dev/null
