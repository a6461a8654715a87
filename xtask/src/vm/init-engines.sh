# Read by init.sh where the machine's root is the host's: puts it together below /new and lets `inside` run a command in
# it. The host's files are read-only; what is written goes to memory. Engines' data, state and sockets are in file
# systems of their own, because an overlay cannot be the upper layer of another one.
mkdir /host /memory /new
mount -t virtiofs -o ro host /host
mount -t tmpfs tmpfs /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work overlay /new
for folder in proc sys dev tmp run; do
    mount --rbind "/$folder" "/new/$folder"
done
# An engine that sees AppArmor wants to load a profile with its tools, which need not be installed.
umount /new/sys/kernel/security
written="root var/lib var/log var/tmp"
# There the packages that are installed are known.
[ "$root" = systemd ] && written="root var/log var/tmp var/lib/containerd var/lib/containers var/lib/docker"
for folder in $written; do
    mkdir -p "/new/$folder"
    mount -t tmpfs tmpfs "/new/$folder"
done
mkdir -p /new/usr/local/bin
mv /given /new/given
export COLLECTOR_IMAGE=/given/collector.tar COLLECTOR_PACKAGES=/given
cp /bin/collector /bin/e2e /new/usr/local/bin/
COLLECTOR_BIN=/usr/local/bin/collector

inside() {
    chroot /new env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
}
