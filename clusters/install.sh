#!/usr/bin/env bash
# install.sh: the packages of requirements.lock and this project, on one machine, into $MMD_DDM_VENV.
#
# Run again, it changes what has changed. An environment that it did not make is used as it is: where machines have no
# way to packages, make one by hand and name it in ~/.mmd-ddm_env.$HOSTNAME (export MMD_DDM_VENV=/opt/mmd-ddm).
set -euo pipefail
cd "$(dirname "$0")/.."

python=3.11.14 # Ray wants the same on all machines, to the last number
venv=${MMD_DDM_VENV:-$HOME/.mmd-ddm-venv}
made=$venv/.made-by-install.sh

if [ -e "$venv/bin/python" ] && [ ! -e "$made" ]; then
    echo "install: $venv is used as it is"
    exit 0
fi
exec 9>"$venv.lock" # machines whose home folders are one take turns
flock 9
if ! command -v uv >/dev/null; then
    [ -x ~/.mmd-ddm-uv/bin/uv ] || { python3 -m venv ~/.mmd-ddm-uv && ~/.mmd-ddm-uv/bin/pip install --quiet uv; }
    PATH=$HOME/.mmd-ddm-uv/bin:$PATH
fi
[ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
touch "$made"
uv pip install --quiet --python "$venv/bin/python" --requirement clusters/requirements.lock
uv pip install --quiet --python "$venv/bin/python" --no-deps --editable .
echo "install: $("$venv/bin/python" --version) in $venv"
