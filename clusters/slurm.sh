#!/usr/bin/env bash
#SBATCH --job-name=mmd-ddm
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=24:00:00
# A Slurm job, UNTESTED on Slurm (Ray's own part of it, `ray symmetric-run`, is its documented way): in the project's
# folder, which all nodes see as they see the home folders,
#
#   bash clusters/install.sh                                  # once, on a login node
#   sbatch clusters/slurm.sh --dataset lsun_church            # options of tune/search.py
#   sbatch clusters/slurm.sh --resume studies/...             # after the time limit
set -euo pipefail
cd "$SLURM_SUBMIT_DIR"

export MMD_DDM_SHARED=${MMD_DDM_SHARED:-$SLURM_SUBMIT_DIR} # studies, caches and records
. clusters/environment.sh
[ -s ~/.ray/auth_token ] || (umask 077 && ray get-auth-token --generate >/dev/null)

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
on_head=(srun --nodes=1 --ntasks=1 --nodelist="$head")
address=$("${on_head[@]}" hostname -I | cut -d ' ' -f 1):$((20000 + SLURM_JOB_ID % 10000)) # other jobs have other ports

"${on_head[@]}" mmd-ddm doctor --head --gpus "$SLURM_GPUS_ON_NODE"
srun mmd-ddm doctor --worker --gpus "$SLURM_GPUS_ON_NODE"
srun --kill-on-bad-exit=1 bash clusters/start_ray.sh job "$address" "$SLURM_NNODES" python tune/search.py "$@"
