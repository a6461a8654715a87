# Read by init.sh after init-engines.sh: hands the machine over to the host's systemd, whose only task is a unit that runs
# the suite. The tests start the engines; their networks would take more drivers than there are.
: >/new/etc/fstab
# An image for containers lets no package start anything.
rm -f /new/usr/sbin/policy-rc.d
# What is done daily would be done now, and the index of manuals with each package.
ln -s /dev/null /new/etc/systemd/system/timers.target
rm -f /new/var/lib/man-db/auto-update
mkdir -p /new/etc/docker
echo '{ "bridge": "none", "iptables": false, "ip6tables": false }' >/new/etc/docker/daemon.json
cp /run-suite.sh /etc/arguments /new/given/
cat >/new/given/suite.sh <<END
exec >/dev/console 2>&1
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
export COLLECTOR_TEST_VM=1 COLLECTOR_TEST_KERNEL=$COLLECTOR_TEST_KERNEL COLLECTOR_TEST_CGROUPS=$COLLECTOR_TEST_CGROUPS
export COLLECTOR_IMAGE=$COLLECTOR_IMAGE COLLECTOR_PACKAGES=$COLLECTOR_PACKAGES
COLLECTOR_BIN=$COLLECTOR_BIN
ARGUMENTS=/given/arguments
inside() {
    "\$@"
}
. /given/run-suite.sh
END
cat >/new/etc/systemd/system/suite.service <<END
[Unit]
Wants=basic.target
[Service]
ExecStart=/bin/busybox sh /given/suite.sh
END
exec switch_root -c /dev/console /new /lib/systemd/systemd --unit=suite.service --show-status=0 --log-target=null
