#!/usr/bin/env bash
# A Ray cluster for one job, and a run on it. In the project's folder, which all nodes see:
#
#     sbatch --nodes=4 --gpus-per-node=8 deploy/slurm.sh --pipelines=generate --params=generate.prompts_file=prompts.txt
#
# The arguments are those of `kedro run`. A job that was ended is sent again with the same command and goes on where it was.
#SBATCH --job-name=vist3a
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

# shellcheck disable=SC1091
source .venv/bin/activate
export OMP_WAIT_POLICY=PASSIVE RAY_USAGE_STATS_ENABLED=0
# Whoever shares the network must not send work to these processes.
RAY_AUTH_TOKEN=$(python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN

port=$((20000 + SLURM_JOB_ID % 10000))
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export RAY_ADDRESS="$head:$port"
cores=${SLURM_CPUS_PER_TASK:-1}
gpus=${SLURM_GPUS_ON_NODE:-0}

srun --nodes=1 --ntasks=1 --nodelist="$head" \
    ray start --head --node-ip-address="$head" --port="$port" --num-cpus="$cores" --num-gpus="$gpus" --block &
others=$((SLURM_JOB_NUM_NODES - 1))
if [ "$others" -gt 0 ]; then
    srun --nodes="$others" --ntasks="$others" --exclude="$head" \
        bash -c "until ray status >/dev/null 2>&1; do sleep 2; done; exec ray start --address='$RAY_ADDRESS' --num-cpus='$cores' --num-gpus='$gpus' --block" &
fi

# As many workers as there are GPUs, or nodes where there are none; they start as soon as their node has joined.
workers=$((SLURM_JOB_NUM_NODES * (gpus > 0 ? gpus : 1)))
until ray status >/dev/null 2>&1; do sleep 2; done
# A later --params would replace this one: given ones are appended to it.
arguments=() given=""
for argument in "$@"; do
    case $argument in
        --params=*) given="$given,${argument#--params=}" ;;
        *) arguments+=("$argument") ;;
    esac
done
kedro run "${arguments[@]}" --params="workers.kind=ray,workers.count=$workers$given"
