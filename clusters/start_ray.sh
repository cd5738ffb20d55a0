#!/usr/bin/env bash
# start_ray.sh: starts Ray on one machine, with what Ray 2.60 gets wrong by itself put right.
#
#   start_ray.sh head                            the head of `ray up`
#   start_ray.sh worker                          another machine of it; RAY_HEAD_IP is the head's address
#   start_ray.sh job IP:PORT NODES COMMAND...    on all machines of a batch job at once: the one with the address is the
#                                                head and runs the command when all have joined; then Ray ends everywhere
#
# MMD_DDM_RAY_ARGS, of ~/.mmd-ddm_env.$HOSTNAME, are further options of `ray start` on that machine.
set -euo pipefail

launched=~/ray_bootstrap_config.yaml # what `ray up` was given; JSON in truth
case $1 in
    head) head=$(grep -oP '"head_ip": *"\K[^"]+' "$launched" || hostname -I | cut -d ' ' -f 1) ;;
    worker) head=$RAY_HEAD_IP ;;
    job) head=${2%:*} ;;
esac

# The second autoscaler, the default of `ray up`, never counts a `local` head as running: one worker never joins, dead
# ones stay dead (ray-project/ray#57153). The launcher switches it on before
# this script, and usage statistics too.
export RAY_enable_autoscaler_v2=0 RAY_USAGE_STATS_ENABLED=0

# The launcher sets this to 1, and every process of Ray would inherit it in place of the CPUs that it asked for.
unset OMP_NUM_THREADS
ulimit -n "$(ulimit -Hn)"

# A machine's own name often stands for 127.0.1.1 (Debian, Ubuntu): gloo would listen there, and Ray announce it. The
# address on the way to the head, and its interface, are found on each machine, since interfaces have other names there.
own=$(ip -o -4 route get "$head" | sed -n 's/.* src \([^ ]*\).*/\1/p')
GLOO_SOCKET_IFNAME=$(ip -o -4 addr show to "$own" | awk '{print $2; exit}')
export GLOO_SOCKET_IFNAME NCCL_SOCKET_IFNAME="=$GLOO_SOCKET_IFNAME" # = : exactly this one

# shellcheck disable=SC2086  # several options in one variable
case $1 in
    head)
        # the dashboard, which takes jobs, listens on loopback: `ray dashboard FILE` opens a tunnel to it
        exec ray start --head --node-ip-address="$own" --port=6379 --dashboard-host=127.0.0.1 --dashboard-port=8265 \
            --autoscaling-config="$launched" ${MMD_DDM_RAY_ARGS:-}
        ;;
    worker) exec ray start --address="$head:6379" --node-ip-address="$own" ${MMD_DDM_RAY_ARGS:-} ;;
    job) exec ray symmetric-run --address "$2" --min-nodes "$3" ${MMD_DDM_RAY_ARGS:-} -- "${@:4}" ;;
esac
