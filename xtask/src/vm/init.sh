#!/bin/sh
# The first process of the virtual machine: mounts what Linux needs, turns every cgroup controller on, runs the
# end-to-end suite and says the verdict in one line. There is no tracefs, no debugfs and no network on purpose.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root COLLECTOR_TEST_VM=1 COLLECTOR_BIN=/bin/collector
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# One by one: a controller that cannot be had must not take the others with it.
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || echo "controller $controller: not available"
done
ip link set lo up
hostname collector-vm
for module in $(ls /lib | sort -n); do
    insmod "/lib/$module" || echo "module $module: not loaded"
done
# From here on only a panic speaks on the console: an OOM report in the middle of the verdict would hide it.
dmesg -n 1
echo "kernel $(uname -r), controllers: $(cat /sys/fs/cgroup/cgroup.subtree_control)"

if grep -q collector.mode=shell /proc/cmdline; then
    echo "try: collector --port 8080 &    e2e --list"
    setsid cttyhack sh
    poweroff -f
fi

if [ -s /etc/filter ]; then
    set -- "$(cat /etc/filter)"
else
    set --
fi
{ e2e --collector /bin/collector "$@" 2>&1; echo "$?" >/tmp/status; } | tee /tmp/output
counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/passed=\1 failed=\2 skipped=\3/p' /tmp/output |
    tail -n 1)
status=$(cat /tmp/status)
echo
echo "COLLECTOR-VM-VERDICT ${counts:-passed=0 failed=0 skipped=0} status=${status:-none}"
poweroff -f
