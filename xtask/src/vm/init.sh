#!/bin/sh
# The first process of the virtual machine: mounts what Linux needs and the cgroup hierarchies that the kernel's
# argument collector.cgroups asks for, runs the end-to-end suite and says the verdict in one line. There is no tracefs,
# no debugfs and no network on purpose.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root COLLECTOR_TEST_VM=1 COLLECTOR_BIN=/bin/collector
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t securityfs securityfs /sys/kernel/security
mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run

# The value of one of our arguments on the kernel's command line.
argument() {
    sed -n "s/.*collector\\.$1=\\([^ ]*\\).*/\\1/p" /proc/cmdline
}
mode=$(argument mode)
export COLLECTOR_TEST_KERNEL="$(argument kernel)" COLLECTOR_TEST_CGROUPS="$(argument cgroups)"

# Turns on what is offered, one by one: a controller that cannot be had must not take the others with it.
enable_controllers() {
    for controller in $(cat "$1/cgroup.controllers"); do
        echo "+$controller" >"$1/cgroup.subtree_control" || echo "cgroup2 controller $controller: not available"
    done
}

# Mounts the v1 hierarchies as systemd does: cpu and cpuacct share one, net_cls and net_prio another, each with links.
mount_v1() {
    mount -t tmpfs -o mode=755 cgroup_root /sys/fs/cgroup
    for hierarchy in cpuset cpu,cpuacct blkio memory devices freezer net_cls,net_prio perf_event hugetlb pids rdma misc
    do
        mkdir "/sys/fs/cgroup/$hierarchy"
        # The kernel mounts nothing where it has one of the controllers only for cgroup2, or not at all.
        if ! mount -t cgroup -o "$hierarchy" cgroup "/sys/fs/cgroup/$hierarchy" 2>/dev/null; then
            rmdir "/sys/fs/cgroup/$hierarchy"
            absent="$absent $hierarchy"
            continue
        fi
        case $hierarchy in
        *,*) for link in $(echo "$hierarchy" | tr , ' '); do ln -s "$hierarchy" "/sys/fs/cgroup/$link"; done ;;
        esac
    done
    # Before 5.11 a limit counts what is below it only when asked to, which systemd does.
    use_hierarchy=/sys/fs/cgroup/memory/memory.use_hierarchy
    [ -f $use_hierarchy ] && [ "$(cat $use_hierarchy)" = 0 ] && echo 1 >$use_hierarchy
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
}

absent=
case $COLLECTOR_TEST_CGROUPS in
v1) mount_v1 ;;
hybrid)
    mount_v1
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified
    # What v1 did not take.
    enable_controllers /sys/fs/cgroup/unified
    ;;
*)
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    enable_controllers /sys/fs/cgroup
    ;;
esac
ip link set lo up
hostname collector-vm
# Which driver needs which differs between kernels: what fails is tried again after the others.
modules=$(ls /lib | sort -n)
for _ in 1 2 3; do
    failed=
    for module in $modules; do
        insmod "/lib/$module" 2>/dev/null || failed="$failed $module"
    done
    modules=$failed
done
[ -z "$modules" ] || echo "modules not loaded:$modules"
# What a shell and the suite are run by, where they are to see another root.
inside() {
    "$@"
}
root=$(argument root)
if [ "$root" != own ]; then
    . /init-engines.sh
else
    # The second disk is for swapping, where the kernel has its driver; some look at their disks in the background.
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        [ -b /dev/vdb ] && break
        sleep 0.2
    done
    [ -b /dev/vdb ] && mkswap /dev/vdb >/dev/null && swapon /dev/vdb
fi
# From here on only a panic speaks on the console: an OOM report in the middle of the verdict would hide it.
dmesg -n 1
echo "kernel $(uname -r) with $COLLECTOR_TEST_CGROUPS, $(nproc) processors, swap $(sed -n 's/SwapTotal: *//p' /proc/meminfo)"
echo "not in v1:${absent:- nothing}; in cgroup2: $(cat /sys/fs/cgroup/cgroup.subtree_control \
    /sys/fs/cgroup/unified/cgroup.subtree_control 2>/dev/null)"

if [ "$mode" = shell ]; then
    echo "try: collector --port 8080 &    e2e --list"
    inside setsid busybox cttyhack sh
    poweroff -f
fi

[ "$root" = systemd ] && . /init-systemd.sh
ARGUMENTS=/etc/arguments
. /run-suite.sh
