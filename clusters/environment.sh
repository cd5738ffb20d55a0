# The environment of every shell on a machine of a cluster; ~/.bashrc sources it, and so all that Ray starts has it.

[ -r ~/.mmd-ddm_env ] && . ~/.mmd-ddm_env                                      # of all machines: by the cluster file
[ -r ~/.mmd-ddm_env."$HOSTNAME" ] && . ~/.mmd-ddm_env."$HOSTNAME"              # of this one: by its owner, or nobody
[ -r ~/.mmd-ddm_doctor."$HOSTNAME" ] && . ~/.mmd-ddm_doctor."$HOSTNAME"        # of this one: by mmd-ddm doctor

export MMD_DDM_VENV="${MMD_DDM_VENV:-$HOME/.mmd-ddm-venv}"
export PATH="$MMD_DDM_VENV/bin:$PATH"

# Ray's clients and `ray start` on a worker don't follow the head in this: it is said everywhere
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0

# what is prepared or downloaded once is there for all; the records are written by the search alone, wherever it runs
if [ -n "${MMD_DDM_SHARED:-}" ]; then
    export MMD_DDM_SHARED
    export MMD_DDM_HOME="${MMD_DDM_HOME:-$MMD_DDM_SHARED/cache}"
    export HF_HOME="${HF_HOME:-$MMD_DDM_SHARED/cache/huggingface}" TORCH_HOME="${TORCH_HOME:-$MMD_DDM_SHARED/cache/torch}"
    export MLFLOW_TRACKING_URI="${MLFLOW_TRACKING_URI:-sqlite:///$MMD_DDM_SHARED/mlflow.db}"
fi
