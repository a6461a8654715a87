# Read by init.sh, or by the unit of init-systemd.sh: runs the end-to-end suite with the arguments in $ARGUMENTS, by `inside`,
# says the verdict in one line and switches the machine off.
set --
while read -r line; do
    [ -z "$line" ] || set -- "$@" "$line"
done <"$ARGUMENTS"
{ inside e2e --collector "$COLLECTOR_BIN" "$@" 2>&1; echo "$?" >/tmp/status; } | tee /tmp/output
counts=$(sed -n 's/^\([0-9]*\) passed, \([0-9]*\) failed, \([0-9]*\) skipped$/passed=\1 failed=\2 skipped=\3/p' /tmp/output |
    tail -n 1)
status=$(cat /tmp/status)
echo
echo "COLLECTOR-VM-VERDICT ${counts:-passed=0 failed=0 skipped=0} status=${status:-none}"
busybox poweroff -f
