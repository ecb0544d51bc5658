#!/usr/bin/env bash
# Stop all jobs and daemons of a cluster that start.sh started:  stop.sh FOLDER
folder=$1
export SLURM_CONF=$folder/slurm.conf
scancel --user="$(id -un)" 2> /dev/null
for _ in $(seq 100); do [ -z "$(squeue -h 2> /dev/null)" ] && break; sleep 0.1; done
for file in "$folder"/{slurmd-*,slurmctld,slurmdbd,mariadb/mariadbd,munged}.pid; do
  [ -s "$file" ] || continue
  pid=$(cat "$file")
  kill "$pid" 2> /dev/null
  for _ in $(seq 100); do
    state=$(awk '/^State/ {print $2}' "/proc/$pid/status" 2> /dev/null)
    [ -z "$state" ] || [ "$state" = Z ] && break
    sleep 0.1
  done
done
true
