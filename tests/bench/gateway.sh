#!/bin/sh
# CPU per request of the gateway beside HAProxy, one thread each, in front of
# the same endpoint and under the same load, in alternating rounds.
#
#   tests/bench/gateway.sh [ROUNDS]      3 rounds when not said
#
# Prints microseconds of CPU (user and system, of the proxy's process) and
# their ratio for a small request, a streamed chunk and a 473 kB prompt. Only
# the ratios mean something on a machine that does other things too.
#
# HAProxy runs twice. As it comes it may hold chunks of an answer back to send
# several at once (MSG_MORE), which costs less and makes tokens late; with
# `option http-no-delay` it passes each on, as a gateway for streams must. The
# ratio is to the second; the delay of the chunks is printed for all three.
# Needs Debian's haproxy (installed with apt-get when missing and root) or
# HAPROXY=/path/to/haproxy.
set -eu
rounds=${1:-3}
cd "$(dirname "$0")/../.."

haproxy=${HAPROXY:-$(command -v haproxy || true)}
if [ -z "$haproxy" ]; then
    echo "installing haproxy with apt-get" >&2
    apt-get install -y -qq haproxy >&2
    haproxy=$(command -v haproxy)
fi

cargo build --release --quiet -p gateway --example bench
bench=${CARGO_TARGET_DIR:-target}/release/examples/bench

work=$(mktemp -d)
started=""
cleanup() {
    for pid in $started; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM

backend_port=${BENCH_PORT:-18310}
gateway_port=$((backend_port + 1))
haproxy_port=$((backend_port + 2))
holding_port=$((backend_port + 3))

configure() { # port options
    cat <<CONFIG
global
    nbthread 1
    maxconn 4000
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
    $2
frontend in
    bind 127.0.0.1:$1
    default_backend out
backend out
    server s 127.0.0.1:$backend_port
CONFIG
}
configure "$haproxy_port" "option http-no-delay" > "$work/haproxy.cfg"
configure "$holding_port" "" > "$work/holding.cfg"

"$bench" backend "127.0.0.1:$backend_port" & started="$started $!"
"$bench" gateway "127.0.0.1:$gateway_port" "127.0.0.1:$backend_port" & gateway_pid=$!; started="$started $gateway_pid"
"$haproxy" -q -db -f "$work/haproxy.cfg" & haproxy_pid=$!; started="$started $haproxy_pid"
"$haproxy" -q -db -f "$work/holding.cfg" & holding_pid=$!; started="$started $holding_pid"

for port in "$gateway_port" "$haproxy_port" "$holding_port"; do
    tries=0
    until "$bench" load small "127.0.0.1:$port" "$gateway_pid" >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ "$tries" -gt 50 ]; then echo "nothing serves on port $port" >&2; exit 1; fi
        sleep 0.1
    done
done

measure() { # proxy kind port pid
    "$bench" load "$2" "127.0.0.1:$3" "$4" | sed "s/^/$1 /" | tee -a "$work/figures" >&2
}

round=0
while [ "$round" -lt "$rounds" ]; do
    round=$((round + 1))
    for kind in small stream big; do
        measure gateway "$kind" "$gateway_port" "$gateway_pid"
        measure haproxy "$kind" "$haproxy_port" "$haproxy_pid"
        measure holding "$kind" "$holding_port" "$holding_pid"
    done
done

median() { # proxy kind column
    awk -v proxy="$1" -v kind="$2" -v column="$3" '$1 == proxy && $2 == kind { print $column }' "$work/figures" | sort -n |
        awk '{ v[NR] = $1 } END { print (NR % 2) ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'
}

printf '%-22s %10s %10s %8s %18s\n' "CPU, microseconds per" gateway haproxy ratio "haproxy as it comes"
for kind in small stream big; do
    case $kind in
        small) name="small request" ;;
        stream) name="streamed chunk" ;;
        big) name="473 kB prompt" ;;
    esac
    awk -v n="$name" -v a="$(median gateway "$kind" 3)" -v b="$(median haproxy "$kind" 3)" -v c="$(median holding "$kind" 3)" \
        'BEGIN { printf "%-22s %10.1f %10.1f %8.2f %18.1f\n", n, a, b, a / b, c }'
done
for proxy in gateway haproxy holding; do
    echo "$proxy: a chunk is under way $(median $proxy stream 5) us at the median, $(median $proxy stream 6) us at p99"
done
for proxy in gateway haproxy holding; do
    eval pid=\$${proxy}_pid
    awk -v p="$proxy" '/VmHWM/ { printf "%s: most memory resident %.0f MB\n", p, $2 / 1024 }' "/proc/$pid/status"
done
