#!/usr/bin/env bash
# down.sh CLUSTER.yaml: `ray down` that ends Ray on every machine of provider `local`.
#
# `ray down` by itself stops the head alone; on the others raylets end after a minute, and log monitors never. The head,
# which reaches them all, stops itself first, or it would start the others again.
set -euo pipefail

if [ "$1" != --on-the-head ]; then
    ray exec "$1" 'bash ~/mmd-ddm/clusters/down.sh --on-the-head' || echo "down: the head doesn't answer" >&2
    exec ray down -y "$1"
fi

ray stop --grace-period 60
config=$(tr -d '\n' <~/ray_bootstrap_config.yaml) # JSON in truth
user=$(grep -oP '"ssh_user": *"\K[^"]+' <<<"$config")
for address in $(grep -oP '"worker_ips": *\[\K[^]]*' <<<"$config" | tr -d '",'); do
    ssh -n -i ~/ray_bootstrap_key.pem -o BatchMode=yes -o ConnectTimeout=5 -o LogLevel=ERROR \
        -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "$user@$address" "bash -lic 'ray stop --grace-period 60' 2>/dev/null" ||
        echo "down: could not stop Ray on $address" &
done
wait
