#!/bin/sh
# An album on the machines that hosts.txt beside this file names, a line for each process: one for each of a machine's
# GPUs. MPICH and Open MPI start them over ssh, which has to ask for no password; they need this package at the same
# place and a folder that all of them see. As it stands, two processes of this machine make the demo album.
#   sh over_ssh.sh [ALBUM.yaml [options of jukebox-kit album]]
here=$(cd "$(dirname "$0")" && pwd)
[ $# -gt 0 ] || set -- "$here/demo.yaml"
exec mpiexec -machinefile "$here/hosts.txt" -n "$(grep -c . "$here/hosts.txt")" jukebox-kit album "$@"
