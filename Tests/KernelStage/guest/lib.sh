# What the scripts of the guest share.

checks_failed=0

# check NAME COMMAND...: runs the command, a program or a function, for at most two minutes of the
# guest; its output is shown when it fails.
check() {
    local name=$1 status=0 command watchdog
    shift
    "$@" >/tmp/check.log 2>&1 &
    command=$!
    (sleep 120; kill -9 $command) >/dev/null 2>&1 &
    watchdog=$!
    wait $command || status=$?
    kill $watchdog
    wait $watchdog 2>/dev/null
    read -r uptime _ </proc/uptime
    if [ $status = 0 ]; then
        echo "$uptime ok   $name: $(tail -n 1 /tmp/check.log)"
    else
        checks_failed=$((checks_failed + 1))
        echo "$uptime FAIL $name: status $status"
        sed 's/^/     /' /tmp/check.log
    fi
}

# wait_for NAME COMMAND...: until the command succeeds, at most ten seconds of the guest.
wait_for() {
    local name=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -gt 200 ]; then
            checks_failed=$((checks_failed + 1))
            echo "FAIL waiting: $name"
            return 1
        fi
        usleep 50000
    done
}
