#!/bin/sh
# An album as a job of Slurm, gone on with by the same command after its time is up or a node is gone:
#   sbatch slurm.sh [ALBUM.yaml [options of jukebox-kit album]]
# As it stands, two processes without GPUs make the demo album; for GPUs write what the last lines below say.
#SBATCH --job-name=album
#SBATCH --ntasks=2
#SBATCH --cpus-per-task=1
#SBATCH --time=01:00:00
#SBATCH --signal=TERM@60
# A minute before the end every process is asked to save. With GPUs, one process for each:
# --ntasks=8 --ntasks-per-node=4 --gpus-per-node=4
here=${SLURM_SUBMIT_DIR:-$(pwd)}
[ $# -gt 0 ] || set -- "$here/demo.yaml"
# --kill-on-bad-exit=0: a process that dies ends no other. An MPI built without PMI2 needs --mpi=pmix.
exec srun --mpi=pmi2 --kill-on-bad-exit=0 jukebox-kit album "$@"
