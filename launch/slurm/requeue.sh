# shellcheck shell=bash
# Requeue an interrupted job. The batch script sources this file right after srun, whose exit status is $?.
# It exports NOISEMAP_JOB_FOLDER (logs and the files of launch/slurm/job.py) and NOISEMAP_MAX_RESTARTS.
status=$?
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
job=${job:-$SLURM_JOB_ID}
failed=$NOISEMAP_JOB_FOLDER/${job}_failed
restarts=$NOISEMAP_JOB_FOLDER/${job}_restarts

# Repeat a command until SLURM answers, for less than the default signal_seconds: the time limit also ends this script.
retry() {
  local attempt
  for attempt in 1 2 3 4 5; do
    "$@" && return
    [ "$attempt" = 5 ] || sleep 10
  done
  return 1
}

[ "$status" -gt 128 ] || exit "$status" # only a signal is worth a restart: status 128 + its number
[ ! -e "$failed" ] || exit 1
# A job that is being canceled is no longer RUNNING.
[ "$(retry squeue --noheader --jobs="$job" --format=%T)" = RUNNING ] || exit "$status"

echo "ended with status $status" >> "$restarts"
interruptions=$(wc -l < "$restarts")
if [ "$interruptions" -gt "$NOISEMAP_MAX_RESTARTS" ]; then
  echo "giving up after $interruptions interruptions without progress" >&2
  exit 1
fi
echo "ended with status $status; requeued"
retry scontrol requeue "$job"
